"""Tests of `VectorQuantizer` against NumPy, gradients and one device."""

import multiprocessing
from concurrent import futures

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import assert_close
from tests.helpers import compiled
from tests.helpers import gradient
from tests.helpers import normal
from tests.helpers import weight_gradients
from vqvae2_tf.layers import VectorQuantizer

pytestmark = pytest.mark.any_backend


class NumPyQuantizer:
    """Section 3 of VQ-VAE-2 in float64, one vector at a time."""

    def __init__(self, codebook, beta=0.25, decay=0.99, epsilon=1e-5):
        self.sums = np.array(codebook, "float64")
        self.counts = np.ones(len(codebook))
        self.beta, self.decay, self.epsilon = beta, decay, epsilon

    def codebook(self):
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (
            total + len(self.counts) * self.epsilon
        )
        return self.sums / (smoothed * total)[:, None]

    def step(self, z):
        """Codes and loss of a batch by the old codebook, and the update."""
        codebook = self.codebook()
        codes = np.zeros(z.shape[:-1], "int32")
        counts = np.zeros_like(self.counts)
        sums = np.zeros_like(self.sums)
        loss = 0.0
        for position in np.ndindex(codes.shape):
            distances = np.sum((codebook - z[position]) ** 2, axis=1)
            code = int(np.argmin(distances))
            codes[position] = code
            counts[code] += 1
            sums[code] += z[position]
            loss += self.beta * distances[code] / z.size
        self.counts = self.decay * self.counts + (1 - self.decay) * counts
        self.sums = self.decay * self.sums + (1 - self.decay) * sums
        return codes, loss


def warm(num_codes=6, code_dim=3, codebook=None, **kwargs):
    """A quantizer with a given codebook."""
    quantizer = VectorQuantizer(num_codes, code_dim, **kwargs)
    quantizer.build((None, None, None, code_dim))
    if codebook is None:
        codebook = normal(num_codes, code_dim, seed=100)
    quantizer.set_codebook(codebook)
    return quantizer


def training_step(quantizer):
    """The quantizer in training, compiled where eager calls are slow."""
    if not quantizer.built:
        quantizer.build((None, None, None, quantizer.code_dim))

    def step(z):
        return quantizer(z, training=True)

    if keras.backend.backend() == "jax":
        return compiled(step, quantizer)
    return step


def initial_codebook(quantizer, z, codes):
    """The codebook of the cold start, out of the state one step after it."""
    k, decay = quantizer.num_codes, quantizer.ema_decay
    one_hot = np.eye(k)[np.ravel(codes)]
    vectors = z.reshape(-1, z.shape[-1])
    counts = array(quantizer.ema_counts) - (1 - decay) * one_hot.sum(0)
    sums = array(quantizer.ema_sums) - (1 - decay) * one_hot.T @ vectors
    np.testing.assert_allclose(counts / decay, 1.0, rtol=1e-5)
    return sums / decay


def unused_steps(quantizer):
    """Each codebook's, one after the other; none without restarts."""
    weights = [w for w in quantizer.weights if w.name == "unused_steps"]
    return [array(w).copy() for w in weights]


def restarts(quantizer, before):
    """Number of codes that a step drew anew, after steps without use.

    Args:
        quantizer: After the step.
        before: Its `unused_steps` before the step.
    """
    counts = [array(w) for w in quantizer.weights if w.name == "ema_counts"]
    # A code that comes into use again has unused steps no more either, but a
    # count of exactly 1 is a new code's.
    return sum(
        np.sum((old > 0) & (new == 0) & (count == 1))
        for old, new, count in zip(
            before, unused_steps(quantizer), counts, strict=False
        )
    )


def nearest_vector(codebook, z):
    """Index of, and distance to, the batch's vector next to each codeword."""
    vectors = z.reshape(-1, z.shape[-1])
    distances = np.linalg.norm(codebook[:, None] - vectors[None], axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def rounded_products(monkeypatch):
    """Products of float32 as TPUs compute them: of numbers in bfloat16."""

    def rounded(a, b):
        a, b = (ops.cast(ops.cast(x, "bfloat16"), "float32") for x in (a, b))
        return matmul(a, b)

    matmul = ops.matmul
    monkeypatch.setattr(ops, "matmul", rounded)


def test_rounded_products_change_few_codes(monkeypatch):
    # As at a top whose projections have hardly moved from a common vector.
    z = 3.0 + 0.1 * normal(8, 16, 16, 32)
    codebook = 3.0 + 0.1 * normal(256, 32, seed=1)
    quantizer = warm(256, 32, codebook)
    # Averages of vectors, not only of the codewords.
    quantizer.ema_sums.assign(codebook + 0.01 * normal(256, 32, seed=2))
    exact = array(quantizer(z)["codes"])
    distances = np.linalg.norm(
        z.reshape(-1, 1, 32)[:64] - array(quantizer.codebook), axis=-1
    )
    np.testing.assert_array_equal(exact.ravel()[:64], distances.argmin(axis=1))
    rounded_products(monkeypatch)
    changed = np.mean(array(quantizer(z)["codes"]) != exact)
    assert 0 < changed < 0.02
    scores = ops.sum(quantizer.codebook**2, axis=1) - 2.0 * ops.matmul(
        z.reshape(-1, 32), ops.transpose(quantizer.codebook)
    )
    # What the rounding does to vectors that are not centred.
    plain = array(ops.argmin(scores, axis=1))
    assert np.mean(plain != exact.ravel()) > 0.5


class TestAgainstNumPy:
    @pytest.mark.parametrize("decay", [0.99, 0.5])
    def test_several_steps(self, decay):
        codebook = normal(6, 3, seed=100)
        quantizer = warm(codebook=codebook, ema_decay=decay)
        train = training_step(quantizer)
        oracle = NumPyQuantizer(codebook, decay=decay)
        for step in range(5):
            z = normal(2, 3, 4, 3, seed=step) + 0.1 * step
            before = oracle.codebook()
            codes, loss = oracle.step(z)
            outputs = train(z)
            np.testing.assert_array_equal(outputs["codes"], codes)
            assert_close(outputs["embeddings"], before[codes])
            assert_close(outputs["commitment_loss"], np.asarray(loss))
            assert_close(quantizer.ema_counts, oracle.counts)
            assert_close(quantizer.ema_sums, oracle.sums)
            assert_close(quantizer.codebook, oracle.codebook())
        assert len(np.unique(codes)) > 2

    def test_shapes_and_dtypes(self):
        quantizer = warm()
        found = {
            name: (
                tuple(value.shape),
                keras.backend.standardize_dtype(value.dtype),
            )
            for name, value in quantizer(normal(2, 3, 5, 3)).items()
        }
        assert found == {
            "embeddings": ((2, 3, 5, 3), "float32"),
            "codes": ((2, 3, 5), "int32"),
            "commitment_loss": ((), "float32"),
        }

    def test_commitment_cost_scales_the_loss(self):
        z = normal(1, 3, 4, 3)
        losses = [
            float(warm(commitment_cost=beta)(z)["commitment_loss"])
            for beta in (0.0, 0.25, 1.0)
        ]
        assert losses[0] == 0
        assert losses[1] > 0
        assert losses[2] == pytest.approx(4 * losses[1])

    def test_lookup_uses_the_codebook_before_the_update(self):
        quantizer = warm(ema_decay=0.1)
        train = training_step(quantizer)
        z = normal(1, 4, 5, 3)
        before = array(quantizer.codebook).copy()
        outputs = train(z)
        codes = array(outputs["codes"])
        np.testing.assert_array_equal(outputs["embeddings"], before[codes])
        assert np.max(np.abs(array(quantizer.codebook) - before)) > 0.1

    def test_laplace_smoothing_is_not_written_back(self):
        # An epsilon this large would show in the counts at once.
        quantizer = warm(ema_decay=0.9, epsilon=0.5)
        train = training_step(quantizer)
        counts = np.ones(6)
        for step in range(4):
            outputs = train(normal(1, 4, 5, 3, seed=step))
            quantizer.embed(outputs["codes"])
            used = np.bincount(np.ravel(outputs["codes"]), minlength=6)
            counts = 0.9 * counts + 0.1 * used
            assert_close(quantizer.ema_counts, counts, rtol=1e-6)
        total = 0.9**4 * 6 + (1 - 0.9**4) * 20
        assert counts.sum() == pytest.approx(total)
        smoothed = (counts + 0.5) * total / (total + 6 * 0.5)
        assert_close(
            quantizer.codebook, array(quantizer.ema_sums) / smoothed[:, None]
        )


class TestColdStart:
    @pytest.mark.parametrize(
        ("shape", "num_codes"),
        [
            ((2, 2, 4), 16),
            ((1, 1, 17), 16),
            ((3, 5, 7), 16),
            ((1, 7, 7), 48),
            ((2, 6, 6), 7),
        ],
    )
    def test_codebook_is_distinct_vectors_of_the_batch(self, shape, num_codes):
        quantizer = VectorQuantizer(num_codes, 3, seed=1)
        train = training_step(quantizer)
        fresh = quantizer.get_weights()
        for seed in range(5):
            quantizer.set_weights(fresh)
            z = 3 + normal(*shape, 3, seed=seed)
            outputs = train(z)
            codebook = initial_codebook(quantizer, z, outputs["codes"])
            index, distance = nearest_vector(codebook, z)
            assert distance.max() < 1e-4
            assert len(set(index)) == num_codes
            _, distance = nearest_vector(
                array(outputs["embeddings"]).reshape(-1, 3), z
            )
            assert distance.max() < 1e-4

    def test_draws_depend_on_the_seed_alone(self):
        z = normal(2, 6, 6, 3)
        first, same, other = (
            VectorQuantizer(5, 3, seed=seed) for seed in (1, 1, 2)
        )
        for quantizer in (first, same, other):
            training_step(quantizer)(z)
        np.testing.assert_array_equal(first.ema_sums, same.ema_sums)
        assert np.any(array(first.ema_sums) != array(other.ema_sums))

    def test_draws_from_the_whole_batch(self):
        z = np.arange(100, dtype="float32").reshape(4, 5, 5, 1)
        drawn = set()
        quantizer = VectorQuantizer(4, 1, seed=1)
        train = training_step(quantizer)
        fresh = quantizer.get_weights()
        for _ in range(20):
            quantizer.set_weights(fresh)
            codes = train(z)["codes"]
            codebook = initial_codebook(quantizer, z, codes)
            drawn |= set(nearest_vector(codebook, z)[0])
        assert min(drawn) < 10
        assert max(drawn) >= 90
        assert len(drawn) > 40

    def test_every_position_can_be_drawn(self):
        # 30 vectors in sections of 8, 8, 7 and 7.
        z = np.arange(30, dtype="float32").reshape(1, 5, 6, 1)
        quantizer = VectorQuantizer(4, 1, seed=1)
        quantizer.build(z.shape)
        draw = compiled(
            lambda z: quantizer._draws_from_batch(ops.reshape(z, (-1, 1)))(
                ops.convert_to_tensor(True)
            ),
            quantizer,
        )
        draws = np.concatenate([array(draw(z)) for _ in range(400)], axis=1)
        counts = [np.unique(row, return_counts=True) for row in draws]
        sections = [0, 8, 16, 23, 30]
        for i, (values, times) in enumerate(counts):
            expected = np.arange(sections[i], sections[i + 1])
            np.testing.assert_array_equal(values, expected)
            # 50 on average, 7 to either side.
            assert times.min() > 20

    def test_fewer_vectors_than_codes(self):
        quantizer = VectorQuantizer(16, 3, seed=1)
        train = training_step(quantizer)
        z = 5 + normal(1, 1, 5, 3)
        outputs = train(z)
        codebook = initial_codebook(quantizer, z, outputs["codes"])
        index, distance = nearest_vector(codebook, z)
        assert set(index) == set(range(5))
        assert 0 < distance.max() < 0.1
        assert len(np.unique(codebook, axis=0)) == 16
        for values in (*arrays(quantizer.weights), array(quantizer.codebook)):
            assert np.all(np.isfinite(values))

    def test_one_constant_vector(self):
        quantizer = VectorQuantizer(4, 2)
        train = training_step(quantizer)
        for _ in range(3):
            outputs = train(np.full((1, 1, 1, 2), 2.0, "float32"))
        assert_close(quantizer.codebook, np.full((4, 2), 2.0), rtol=1e-3)
        assert float(outputs["commitment_loss"]) < 1e-4

    def test_second_batch_does_not_draw_again(self):
        quantizer = VectorQuantizer(6, 3, seed=1)
        train = training_step(quantizer)
        z = normal(2, 3, 4, 3)
        codes = train(z)["codes"]
        oracle = NumPyQuantizer(initial_codebook(quantizer, z, codes))
        oracle.step(z)
        for seed in (1, 2):
            z = 10 + normal(2, 3, 4, 3, seed=seed)
            oracle.step(z)
            train(z)
            assert_close(quantizer.ema_sums, oracle.sums, rtol=1e-4, atol=1e-4)
            assert_close(quantizer.ema_counts, oracle.counts)

    def test_a_given_codebook_is_not_drawn_over(self):
        codebook = normal(6, 3, seed=100)
        quantizer = warm(codebook=codebook, ema_decay=0.5)
        train = training_step(quantizer)
        oracle = NumPyQuantizer(codebook, decay=0.5)
        assert_close(quantizer.codebook, codebook)
        z = 10 + normal(1, 4, 5, 3)
        oracle.step(z)
        train(z)
        assert_close(quantizer.codebook, oracle.codebook())

    def test_evaluation_does_not_start_the_codebook(self):
        quantizer = VectorQuantizer(6, 3, seed=1)
        train = training_step(quantizer)
        quantizer(100 + normal(2, 3, 4, 3))
        z = normal(2, 3, 4, 3, seed=1)
        codes = train(z)["codes"]
        codebook = initial_codebook(quantizer, z, codes)
        assert nearest_vector(codebook, z)[1].max() < 1e-4

    @pytest.mark.parametrize("decay", [0.99, 0.1])
    def test_unused_codes_do_not_blow_up(self, decay):
        quantizer = VectorQuantizer(8, 3, ema_decay=decay, seed=1)
        train = training_step(quantizer)
        train(normal(1, 4, 5, 3))
        z = np.full((1, 4, 5, 3), 0.01, "float32")
        for _ in range(40):
            codes = train(z)["codes"]
            assert np.max(np.abs(array(quantizer.codebook))) < 5
        assert len(np.unique(codes)) == 1


class TestGradient:
    w = normal(2, 3, 4, 3, seed=7)
    z = normal(2, 3, 4, 3, seed=8)

    @pytest.mark.parametrize("training", [False, True])
    def test_passes_straight_through(self, training):
        quantizer = warm()

        def total(z):
            outputs = quantizer(z, training=training)
            return ops.sum(self.w * outputs["embeddings"])

        np.testing.assert_array_equal(gradient(total, self.z), self.w)

    @pytest.mark.parametrize("training", [False, True])
    def test_commitment_pulls_z_to_its_codeword(self, training):
        quantizer = warm(commitment_cost=0.7)
        e = array(quantizer(self.z)["embeddings"])

        def loss(z):
            return quantizer(z, training=training)["commitment_loss"]

        expected = 2 * 0.7 * (self.z - e) / self.z.size
        assert_close(gradient(loss, self.z), expected, rtol=1e-5, atol=1e-8)

    def test_none_reaches_the_codebook(self):
        quantizer = warm()

        def total():
            outputs = quantizer(self.z)
            return (
                ops.sum(self.w * outputs["embeddings"])
                + 100 * (outputs["commitment_loss"])
            )

        assert not quantizer.trainable_variables
        gradients = weight_gradients(
            total, [quantizer.ema_sums, quantizer.ema_counts]
        )
        for values in gradients:
            np.testing.assert_array_equal(values, 0)


class TestState:
    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
    def test_embeddings_are_bit_equal_to_embed(self, dtype):
        quantizer = warm(dtype=dtype)
        outputs = quantizer(100 * normal(2, 3, 4, 3))
        assert outputs["embeddings"].dtype == quantizer.compute_dtype
        embedded = quantizer.embed(outputs["codes"])
        assert embedded.dtype == quantizer.compute_dtype
        assert_close(embedded, outputs["embeddings"], rtol=0, atol=0)

    def test_unknown_codes_are_embedded_as_the_mean_of_the_vectors(self):
        quantizer = warm(ema_decay=0.0)
        z = 3 + normal(2, 3, 4, 3)
        codes = array(training_step(quantizer)(z)["codes"])
        expected = array(quantizer.embed(codes)).copy()
        codes = codes.copy()
        codes[1, 2], expected[1, 2] = -1, z.mean(axis=(0, 1, 2))
        assert_close(quantizer.embed(codes), expected)

    @pytest.mark.parametrize("arguments", [{}, {"training": False}])
    def test_changes_only_in_training(self, arguments):
        quantizer = VectorQuantizer(6, 3, dead_code_restart_steps=1, seed=1)
        train = training_step(quantizer)
        for num_steps in range(3):
            for _ in range(num_steps):
                train(normal(2, 3, 4, 3))
            before = arrays(quantizer.variables)
            outputs = quantizer(5 + normal(2, 3, 4, 3), **arguments)
            quantizer.embed(outputs["codes"])
            after = arrays(quantizer.variables)
            for old, new in zip(before, after, strict=True):
                np.testing.assert_array_equal(old, new)

    def test_mixed_bfloat16_keeps_float32_statistics(self):
        layers = [
            VectorQuantizer(
                6, 3, dead_code_restart_steps=2, seed=1, dtype=dtype
            )
            for dtype in ("float32", "mixed_bfloat16")
        ]
        steps = [training_step(layer) for layer in layers]
        for seed in range(3):
            z = 100 + normal(2, 3, 4, 3, seed=seed)
            full, low = (step(z) for step in steps)
            assert full["embeddings"].dtype == "float32"
            assert low["embeddings"].dtype == "bfloat16"
            assert low["commitment_loss"].dtype == "float32"
            np.testing.assert_array_equal(full["codes"], low["codes"])
        for one, other in zip(
            *[layer.weights for layer in layers], strict=True
        ):
            assert one.dtype == other.dtype != "bfloat16"
            np.testing.assert_array_equal(array(one), array(other))

    def test_bfloat16_input_is_summed_in_float32(self):
        # In bfloat16 a sum of ones stops growing at 256.
        quantizer = warm(1, 1, np.ones((1, 1)), dtype="mixed_bfloat16")
        train = training_step(quantizer)
        ones = ops.ones((1, 30, 50, 1), dtype="bfloat16")
        train(ones)
        assert_close(quantizer.ema_counts, np.array([0.99 + 15]), rtol=1e-6)
        assert_close(quantizer.ema_sums, np.array([[0.99 + 15]]), rtol=1e-6)

    def test_compiled_equals_eager(self):
        eager, graph = (
            VectorQuantizer(6, 3, dead_code_restart_steps=2, seed=1)
            for _ in range(2)
        )
        for layer in (eager, graph):
            layer.build((None, None, None, 3))
        graph.set_weights(eager.get_weights())
        train = compiled(lambda z: graph(z, training=True), graph)
        evaluate = compiled(graph, graph)
        for step in range(4):
            z = 5 * step + normal(2, 3, 4, 3, seed=step)
            assert_close(train(z), eager(z, training=True))
            for one, other in zip(
                eager.variables, graph.variables, strict=True
            ):
                assert_close(array(one), array(other))
            assert_close(evaluate(z), eager(z))


class TestRestart:
    def codebook(self):
        """Code 0 is far from everything, code 1 near 5, 2 and 3 near 0."""
        return np.array([[99.0], [5.0], [0.5], [-0.5]], "float32")

    def test_after_the_stated_number_of_unused_steps(self):
        quantizer = warm(
            4,
            1,
            self.codebook(),
            dead_code_restart_steps=3,
            ema_decay=0.9,
            seed=1,
        )
        train = training_step(quantizer)
        oracle = NumPyQuantizer(self.codebook(), decay=0.9)
        for step in range(9):
            # Code 1 is never unused three times in a row.
            z = normal(1, 4, 4, 1, seed=step).clip(-2, 2)
            if step % 3 == 1:
                z[0, 0, 0] = 5.0
            codes, _ = oracle.step(z)
            quantizer(z)
            outputs = train(z)
            np.testing.assert_array_equal(outputs["codes"], codes)
            if step == 2:
                counts = array(quantizer.ema_counts)
                sums = array(quantizer.ema_sums)
                assert counts[0] == 1
                assert sums[0, 0] in z
                oracle.counts[0], oracle.sums[0] = counts[0], sums[0]
            assert_close(quantizer.ema_counts, oracle.counts)
            assert_close(quantizer.ema_sums, oracle.sums)

    def test_counts_from_the_restart_again(self):
        codebook = np.array([[99.0], [98.0], [0.0]], "float32")
        quantizer = warm(
            3, 1, codebook, dead_code_restart_steps=2, ema_decay=0.9
        )
        train = training_step(quantizer)
        z = np.zeros((1, 2, 2, 1), "float32")
        drawn_at = []
        for step in range(1, 9):
            train(z)
            if np.all(array(quantizer.ema_counts)[:2] == 1):
                drawn_at.append(step)
            # Away from the batch again.
            sums = array(quantizer.ema_sums).copy()
            sums[:2] = 99 * array(quantizer.ema_counts)[:2, None]
            quantizer.ema_sums.assign(sums)
        assert drawn_at == [2, 4, 6, 8]

    def test_draws_of_several_dead_codes_differ(self):
        codebook = np.array([[90.0], [91.0], [92.0], [0.0]], "float32")
        quantizer = warm(4, 1, codebook, dead_code_restart_steps=1, seed=1)
        train = training_step(quantizer)
        z = normal(1, 4, 4, 1)
        train(z)
        counts, sums = arrays([quantizer.ema_counts, quantizer.ema_sums])
        np.testing.assert_array_equal(counts[:3], 1)
        assert len(np.unique(sums[:3])) == 3
        assert np.all(np.isin(sums[:3], z))

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow",
        reason="on JAX both branches of a condition are traced",
    )
    def test_vectors_are_drawn_only_where_they_are_needed(self, monkeypatch):
        drawn_at = []

        def take(x, index, axis):
            if x.shape == vectors:
                drawn_at.append(step)
            return earlier(x, index, axis)

        earlier, vectors = ops.take, (16, 1)
        monkeypatch.setattr(ops, "take", take)
        quantizer = VectorQuantizer(2, 1, dead_code_restart_steps=3, seed=1)
        for step in range(1, 9):
            quantizer(normal(1, 4, 4, 1, seed=step), training=True)
            # Code 0 is never used.
            sums = np.array([[99.0], [0.0]]) * array(quantizer.ema_counts)[0]
            quantizer.ema_sums.assign(sums)
        assert drawn_at == [1, 4, 7]

    def test_never_by_default(self):
        quantizer = warm(4, 1, self.codebook())
        train = training_step(quantizer)
        oracle = NumPyQuantizer(self.codebook())
        z = normal(1, 4, 4, 1)
        for _ in range(30):
            oracle.step(z)
            train(z)
        assert_close(quantizer.ema_counts, oracle.counts, rtol=1e-4)
        assert_close(quantizer.ema_sums, oracle.sums, rtol=1e-4)
        assert array(quantizer.codebook)[0, 0] > 98


def test_wrong_width_raises():
    with pytest.raises(ValueError, match="code_dim"):
        VectorQuantizer(4, 3)(normal(1, 2, 2, 5))


def two_devices():
    """A strategy over two devices, which are set once a process."""
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def check_replicas():
    """Two replicas against one device."""
    strategy = two_devices()
    # 16 vectors a step: more, and fewer, than codes.
    for num_codes in (5, 20):

        def make(num_codes=num_codes):
            quantizer = VectorQuantizer(
                num_codes, 3, ema_decay=0.9, dead_code_restart_steps=2, seed=1
            )
            quantizer.build((None, None, None, 3))
            return quantizer

        compare_replicas(strategy, make)


def compare_replicas(strategy, make):
    """Compares a quantizer on two replicas with the same on one device."""
    import tensorflow as tf

    alone = make()
    with strategy.scope():
        shared = make()

    @tf.function
    def step(z):
        def on_replica(z):
            outputs = shared(z, training=True)
            return outputs["codes"], outputs["commitment_loss"]

        return strategy.run(on_replica, args=(z,))

    num_restarts = 0
    for seed in range(7):
        # Far away after three steps: the old codes die.
        z = 5.0 * (seed // 3) + normal(4, 2, 2, 3, seed=seed)
        halves = strategy.experimental_distribute_values_from_function(
            lambda context, z=z: tf.constant(
                np.split(z, 2)[context.replica_id_in_sync_group]
            )
        )
        codes, losses = map(strategy.experimental_local_results, step(halves))
        before = unused_steps(alone)
        expected = alone(z, training=True)
        num_restarts += restarts(alone, before)
        found = [np.stack(tf.nest.flatten(x)) for x in codes]
        wanted = np.stack(tf.nest.flatten(expected["codes"]))
        np.testing.assert_array_equal(np.concatenate(found, axis=1), wanted)
        np.testing.assert_allclose(
            np.mean(losses), expected["commitment_loss"], rtol=1e-5
        )
        for one, two in zip(alone.weights, shared.weights, strict=True):
            replicas = strategy.experimental_local_results(two.value)
            assert len(replicas) == 2
            for replica in replicas:
                np.testing.assert_allclose(
                    replica.numpy(), array(one), rtol=1e-6, atol=1e-6
                )
    assert num_restarts > 0


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="tf.distribute needs the TensorFlow backend",
)
def test_two_replicas_equal_one_device():
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(check_replicas).result()


def test_a_frozen_codebook_neither_starts_nor_moves():
    quantizer = VectorQuantizer(6, 3, dead_code_restart_steps=1)
    quantizer.build((None, None, None, 3))
    quantizer.trainable = False
    before, z = arrays(quantizer.variables), normal(2, 3, 4, 3)

    def both(z):
        return [quantizer(z, training=training) for training in (True, False)]

    assert_close(*compiled(both, quantizer)(z))
    for old, variable in zip(before, quantizer.variables, strict=True):
        np.testing.assert_array_equal(array(variable), old)
