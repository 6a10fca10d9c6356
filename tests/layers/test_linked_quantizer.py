"""Tests of `LinkedQuantizer` against NumPy, gradients and one device."""

import multiprocessing
from concurrent import futures

import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import assert_close
from tests.helpers import compiled
from tests.helpers import gradient
from tests.helpers import normal
from tests.layers.test_vector_quantizer import compare_replicas
from tests.layers.test_vector_quantizer import restarts
from tests.layers.test_vector_quantizer import two_devices
from tests.layers.test_vector_quantizer import unused_steps
from vqvae2_tf.layers import LinkedQuantizer
from vqvae2_tf.layers import VectorQuantizer

pytestmark = pytest.mark.any_backend
# JAX compiles for each test anew, and tests these with the slow ones.
slow_on_jax = pytest.mark.large if BACKEND == "jax" else pytestmark

CODES = (3, 2, 4)


class NumPyTree:
    """Linked codebooks in float64, one vector at a time."""

    def __init__(self, quantizer):
        self.sizes = quantizer.num_codes
        self.decay = quantizer.layers[0].ema_decay
        self.counts, self.sums, self.started = [], [], []
        for size, layer in zip(self.sizes, quantizer.layers, strict=True):
            self.counts.append(array(layer.ema_counts).reshape(-1, size) * 1.0)
            sums = array(layer.ema_sums).astype("float64")
            self.sums.append(sums.reshape(-1, size, sums.shape[-1]))

    def codebook(self, layer, parent):
        counts = self.counts[layer][parent]
        smoothed = (counts + 1e-5) / (1 + len(counts) * 1e-5 / counts.sum())
        return self.sums[layer][parent] / smoothed[:, None]

    def step(self, z, update=True):
        """Local codes and each layer's squared error, by the old codebooks."""
        codes = np.zeros((len(self.sizes), *z.shape[:-1]), "int32")
        errors = np.zeros(len(self.sizes))
        counts = [np.zeros_like(c) for c in self.counts]
        sums = [np.zeros_like(s) for s in self.sums]
        for position in np.ndindex(z.shape[:-1]):
            residual, parent = z[position].astype("float64"), 0
            for i, size in enumerate(self.sizes):
                codebook = self.codebook(i, parent)
                distances = np.sum((codebook - residual) ** 2, axis=1)
                code = int(np.argmin(distances))
                codes[i][position] = code
                counts[i][parent, code] += 1
                sums[i][parent, code] += residual
                errors[i] += distances[code] / z.size
                residual = residual - codebook[code]
                parent = parent * size + code
        for i in range(len(self.sizes) * update):
            used = counts[i].sum(axis=1) > 0
            for old, new in ((self.counts, counts), (self.sums, sums)):
                averages = self.decay * old[i] + (1 - self.decay) * new[i]
                old[i][used] = averages[used]
        return list(codes), errors


def warm(num_codes=CODES, code_dim=3, seed=100, **kwargs):
    """A quantizer with random codebooks, finer ones smaller."""
    quantizer = LinkedQuantizer(num_codes, code_dim, **kwargs)
    quantizer.build((None, None, None, code_dim))
    for i, layer in enumerate(quantizer.layers):
        codewords = normal(layer.num_codes, code_dim, seed=seed + i)
        layer.ema_sums.assign(codewords * 0.5**i)
        layer.initialized.assign(np.ones(layer.initialized.shape, bool))
    return quantizer


def cold(num_codes=CODES, code_dim=3, **kwargs):
    quantizer = LinkedQuantizer(num_codes, code_dim, seed=1, **kwargs)
    quantizer.build((None, None, None, code_dim))
    return quantizer


def training_step(quantizer):
    return compiled(lambda z: quantizer(z, training=True), quantizer)


def paths(quantizer, codes):
    """Each layer's global codes, flat."""
    return [array(x).ravel() for x in quantizer.global_codes(codes)]


class TestAgainstNumPy:
    def test_lookup_is_the_best_of_the_paths_codebook(self):
        quantizer = warm()
        z = normal(2, 5, 6, 3)
        tree = NumPyTree(quantizer)
        codes, errors = tree.step(z, update=False)
        outputs = quantizer(z)
        np.testing.assert_array_equal(outputs["codes"], codes)
        assert_close(
            outputs["commitment_loss"], np.asarray(0.25 * errors.sum())
        )
        # The nearest of the whole layer is often another parent's.
        first = array(quantizer.codebook(0))[codes[0]]
        everything = array(quantizer.codebook(1))
        distances = np.sum(
            (everything - (z - first)[..., None, :]) ** 2, axis=-1
        )
        assert np.mean(distances.argmin(-1) // 2 != codes[0]) > 0.3

    def test_several_steps(self):
        quantizer = warm(ema_decay=0.8)
        train = training_step(quantizer)
        tree = NumPyTree(quantizer)
        # All near one of layer 1's codewords: other parents are unused.
        centre = array(quantizer.codebook(0))[1]
        for step in range(4):
            z = centre + 0.1 * normal(1, 4, 5, 3, seed=step)
            if step == 2:
                z = normal(1, 4, 5, 3, seed=step)
            codes, errors = tree.step(z)
            outputs = train(z)
            np.testing.assert_array_equal(outputs["codes"], codes)
            assert_close(
                outputs["commitment_loss"], np.asarray(0.25 * errors.sum())
            )
            for i, layer in enumerate(quantizer.layers):
                for found, expected in (
                    (layer.ema_counts, tree.counts[i]),
                    (layer.ema_sums, tree.sums[i]),
                ):
                    found = array(found)
                    assert_close(found, expected.reshape(found.shape))

    @slow_on_jax
    def test_an_unused_parents_codebooks_stay(self):
        quantizer = warm(ema_decay=0.5, dead_code_restart_steps=2)
        train = training_step(quantizer)
        before = [array(quantizer.codebook(i)).copy() for i in range(3)]
        z = before[0][1] + 0.01 * normal(1, 4, 5, 3)
        outputs = train(z)
        assert set(np.ravel(outputs["codes"][0])) == {1}
        used = [np.unique(path) for path in paths(quantizer, outputs["codes"])]
        for i in (1, 2):
            shape = (-1, CODES[i], 3)
            after = array(quantizer.codebook(i)).reshape(shape)
            same = (after == before[i].reshape(shape)).all(axis=(1, 2))
            assert set(np.nonzero(~same)[0]) == set(used[i - 1])
            unused_steps = array(quantizer.layers[i].unused_steps)
            assert unused_steps.reshape(shape[:2])[same].max() == 0


@pytest.mark.parametrize("num_codes", [6, pytest.param(40, marks=slow_on_jax)])
def test_one_layer_is_a_vector_quantizer_to_the_bit(num_codes):
    # 24 vectors a step: more, and fewer, than codes.
    options = {"ema_decay": 0.9, "dead_code_restart_steps": 2, "seed": 3}
    linked = LinkedQuantizer((num_codes,), 3, **options)
    plain = VectorQuantizer(num_codes, 3, **options)
    for quantizer in (linked, plain):
        quantizer.build((None, None, None, 3))
    steps = [training_step(linked), training_step(plain)]
    num_restarts = 0
    for seed in range(7):
        # Far away after three steps: the old codes die.
        z = 5.0 * (seed // 3) + normal(2, 3, 4, 3, seed=seed)
        before = unused_steps(plain)
        one, other = (step(z) for step in steps)
        one["codes"] = one["codes"][0]
        assert_close(one, other, rtol=0, atol=0)
        for a, b in zip(linked.variables, plain.variables, strict=True):
            np.testing.assert_array_equal(array(a), array(b))
        num_restarts += restarts(plain, before)
    assert num_restarts > 0
    codes = array(other["codes"]).copy()
    codes[0, 1] = -1
    assert_close(linked.embed([codes]), plain.embed(codes), rtol=0, atol=0)


class TestColdStart:
    @pytest.mark.large
    def test_codebooks_are_residuals_of_their_parents_vectors(self):
        quantizer = cold(ema_decay=0.0)
        z = normal(4, 8, 8, 3)
        outputs = training_step(quantizer)(z)
        vectors = residual = z.reshape(-1, 3)
        parents = np.zeros(len(vectors), int)
        # Without a decay, averages are those of the batch: look at the lookup.
        for i, path in enumerate(paths(quantizer, outputs["codes"])):
            quality = []
            for parent in np.unique(parents):
                own = parents == parent
                chosen = np.unique(path[own])
                assert set(chosen // CODES[i]) == {parent}
                quality.append(len(chosen) / min(CODES[i], own.sum()))
            # Each drawn vector is nearest to itself.
            assert min(quality) == 1
            parents = path
            residual = residual - residual_codewords(residual, path)
        assert len(np.unique(path)) == np.prod(CODES)

    def test_drawn_codewords_are_in_the_batch(self):
        quantizer = cold(num_codes=(2, 3), ema_decay=0.9)
        z = normal(2, 6, 6, 3)
        outputs = training_step(quantizer)(z)
        drawn, codes = [], paths(quantizer, outputs["codes"])
        residual = z.reshape(-1, 3)
        for layer, path in zip(quantizer.layers, codes, strict=True):
            one_hot = np.eye(layer.num_codes)[path]
            sums = array(layer.ema_sums) - 0.1 * one_hot.T @ residual
            drawn.append(sums / 0.9)
            distances = np.linalg.norm(
                residual[:, None] - drawn[-1][None], axis=-1
            )
            assert distances.min(axis=0).max() < 1e-5
            # Distinct, and for the children of their own parent.
            rows = distances.argmin(axis=0)
            assert len(set(rows)) == layer.num_codes
            if len(drawn) == 2:
                np.testing.assert_array_equal(codes[0][rows], [0] * 3 + [1] * 3)
            residual = residual - drawn[-1][path]

    @slow_on_jax
    def test_fewer_vectors_than_children(self):
        quantizer = cold(num_codes=(3, 8), commitment_cost=(0.0, 1.0))
        z = 5 + normal(1, 2, 4, 3)
        outputs = training_step(quantizer)(z)
        for layer in quantizer.layers:
            assert np.all(np.isfinite(array(layer.codebook)))
        assert float(outputs["commitment_loss"]) < 1e-3
        # Repeated with a little noise.
        children = array(quantizer.codebook(1))
        assert len(np.unique(children.round(6), axis=0)) == 24

    @slow_on_jax
    def test_an_unused_parents_children_start_when_it_is_used(self):
        quantizer = warm(num_codes=(2, 3), code_dim=1, ema_decay=0.5)
        top, children = quantizer.layers
        top.set_codebook([[-5.0], [5.0]])
        children.ema_sums.assign(np.zeros((6, 1)))
        children.initialized.assign([False, False])
        train = training_step(quantizer)
        train(-5 + 0.1 * normal(1, 3, 3, 1))
        np.testing.assert_array_equal(
            array(children.initialized), [True, False]
        )
        codebook = array(quantizer.codebook(1))
        assert np.all(codebook[:3] != 0)
        np.testing.assert_array_equal(codebook[3:], 0)
        np.testing.assert_array_equal(array(children.ema_counts)[3:], 1)
        first = array(children.ema_sums)[:3].copy()
        train(5 + 0.1 * normal(1, 3, 3, 1))
        np.testing.assert_array_equal(array(children.initialized), True)
        assert np.all(array(quantizer.codebook(1))[3:] != 0)
        np.testing.assert_array_equal(array(children.ema_sums)[:3], first)

    @slow_on_jax
    def test_it_goes_on_where_it_was_saved(self):
        first, second = (
            cold(num_codes=(8, 4), dead_code_restart_steps=3) for _ in range(2)
        )
        train = training_step(first)
        saved, started = None, []
        z = [normal(1, 2, 2, 3, seed=seed // 2) for seed in range(6)]
        for batch in z:
            train(batch)
            saved = saved or arrays(first.variables)
            started.append(np.mean(array(first.layers[1].initialized)))
        assert 0 < started[0] < started[-1]
        for variable, value in zip(second.variables, saved, strict=True):
            variable.assign(value)
        train = training_step(second)
        for batch in z[1:]:
            train(batch)
        for one, other in zip(first.variables, second.variables, strict=True):
            np.testing.assert_array_equal(array(one), array(other))


def residual_codewords(residual, path):
    """Means of the residuals with the same path: its codeword, undecayed."""
    means = np.zeros_like(residual)
    for code in np.unique(path):
        means[path == code] = residual[path == code].mean(axis=0)
    return means


@slow_on_jax
class TestRestart:
    def make(self, **options):
        """Codewords of layer 1 at -5, 5; children at -1, 0, 99 from there."""
        quantizer = warm((2, 3), 1, ema_decay=0.9, **options)
        quantizer.layers[0].set_codebook([[-5.0], [5.0]])
        sums = np.array([[-1], [0], [99]] * 2, "float32")
        quantizer.layers[1].ema_sums.assign(sums)
        return quantizer

    def test_dead_children_are_replaced_by_vectors_of_their_parent(self):
        quantizer = self.make(dead_code_restart_steps=2)
        train = training_step(quantizer)
        children = quantizer.layers[1]
        z = -5 + normal(1, 4, 4, 1).clip(-1.5, 1.5)
        for step in range(2):
            assert array(children.ema_sums)[2] > 50
            before = array(quantizer.codebook(0))[0]
            z[0, 0, 0] = [5.0, -5.0][step]
            train(z)
        drawn = array(children.ema_sums)[2]
        assert np.min(np.abs(drawn - (z - before))) < 1e-5
        assert array(children.ema_counts)[2] == 1
        # The other parent was used once: its children wait for the next time.
        np.testing.assert_array_equal(children.unused_steps[3:], [1, 0, 1])
        assert array(children.ema_sums)[5] == pytest.approx(0.9 * 99)

    def test_a_replaced_parents_children_start_anew(self):
        quantizer = self.make(dead_code_restart_steps=2)
        train = training_step(quantizer)
        children = quantizer.layers[1]
        for step in range(2):
            train(-5 + normal(1, 4, 4, 1, seed=step).clip(-1.5, 1.5))
        # Code 1 was replaced, by a vector near -5.
        np.testing.assert_array_equal(
            array(children.initialized), [True, False]
        )
        np.testing.assert_array_equal(array(children.ema_sums)[3:], 0)
        train(-5 + normal(1, 4, 4, 1, seed=2).clip(-1.5, 1.5))
        np.testing.assert_array_equal(array(children.initialized), True)
        assert 0 < np.abs(array(quantizer.codebook(1))[3:]).max() < 3

    @pytest.mark.large
    def test_never_by_default(self):
        quantizer = self.make()
        train = training_step(quantizer)
        for step in range(5):
            train(-5 + normal(1, 4, 4, 1, seed=step).clip(-1.5, 1.5))
        assert array(quantizer.codebook(1))[2] > 98


class TestGradient:
    z = normal(2, 3, 4, 3, seed=8)

    @pytest.mark.parametrize(
        "training", [pytest.param(False, marks=slow_on_jax), True]
    )
    def test_every_layers_commitment_reaches_the_input(self, training):
        e = [0.0] * 3
        quantizer = warm()
        codes = paths(quantizer, quantizer(self.z)["codes"])
        for i, path in enumerate(codes):
            e[i] = array(quantizer.codebook(i))[path].reshape(self.z.shape)
        for i in range(3):
            costs = [0.0] * 3
            costs[i] = 0.7
            quantizer = warm(commitment_cost=costs)

            def loss(z, quantizer=quantizer):
                return quantizer(z, training=training)["commitment_loss"]

            expected = 1.4 * (self.z - sum(e[: i + 1])) / self.z.size
            assert np.abs(expected).max() > 1e-3
            assert_close(gradient(loss, self.z), expected, atol=1e-8)

    @slow_on_jax
    def test_the_papers_global_term_is_the_last_layers(self):
        quantizer = warm(commitment_cost=(0.0, 0.0, 0.5))

        def term(z):
            e = ops.stop_gradient(quantizer(z)["embeddings"])
            return 0.5 * ops.mean((e - z) ** 2)

        def last(z):
            return quantizer(z)["commitment_loss"]

        assert_close(term(self.z), last(self.z))
        assert_close(gradient(term, self.z), gradient(last, self.z), atol=1e-8)

    def test_passes_straight_through(self):
        quantizer, w = warm(), normal(2, 3, 4, 3, seed=7)

        def total(z):
            return ops.sum(w * quantizer(z)["embeddings"])

        np.testing.assert_array_equal(gradient(total, self.z), w)
        assert not quantizer.trainable_variables


@slow_on_jax
class TestEmbed:
    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
    def test_it_is_bit_equal_to_the_call(self, dtype):
        quantizer = warm(dtype=dtype)
        outputs = quantizer(normal(2, 3, 4, 3))
        assert outputs["embeddings"].dtype == quantizer.compute_dtype
        embedded = quantizer.embed(outputs["codes"])
        assert_close(embedded, outputs["embeddings"], rtol=0, atol=0)

    def test_unknown_layers_and_those_below_add_nothing(self):
        quantizer = warm()
        codes = [
            array(x).copy() for x in quantizer(normal(1, 1, 3, 3))["codes"]
        ]
        path = [x[0] for x in map(array, quantizer.global_codes(codes))]
        e = [array(quantizer.codebook(i))[path[i][0]] for i in range(3)]
        codes[2][0, 0, 0] = -1
        codes[1][0, 0, 1] = -1
        codes[0][0, 0, 2] = -1
        mean = array(quantizer.layers[0].mean_vector)
        expected = [e[0][0] + e[1][0], e[0][1], mean]
        assert_close(quantizer.embed(codes)[0, 0], np.stack(expected))
        found = [array(x)[0, 0].tolist() for x in quantizer.global_codes(codes)]
        (a, b, _), (c, _, _) = codes[0][0, 0], codes[1][0, 0]
        assert found == [[a, b, -1], [2 * a + c, -1, -1], [-1] * 3]


@pytest.mark.large
def test_mixed_bfloat16_keeps_float32_statistics():
    layers = [
        cold((3, 2), dead_code_restart_steps=2, dtype=dtype)
        for dtype in ("float32", "mixed_bfloat16")
    ]
    steps = [training_step(layer) for layer in layers]
    for seed in range(2):
        z = 100 + normal(2, 3, 4, 3, seed=seed)
        full, low = (step(z) for step in steps)
        np.testing.assert_array_equal(full["codes"], low["codes"])
    assert low["commitment_loss"].dtype == "float32"
    for one, other in zip(*(arrays(x.variables) for x in layers), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_codes": ()}, "`num_codes`.*one number a layer"),
        ({"commitment_cost": (1.0, 2.0)}, "`commitment_cost`.*3 layers"),
        ({"num_codes": (512, 512, 512)}, "`num_codes`.*at most 16,777,216"),
    ],
)
def test_mistakes_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinkedQuantizer(**{"num_codes": CODES, "code_dim": 3, **arguments})


def test_wrong_width_raises():
    with pytest.raises(ValueError, match="code_dim"):
        LinkedQuantizer(CODES, 3)(normal(1, 2, 2, 5))


def check_replicas():
    compare_replicas(
        two_devices(),
        lambda: cold((2, 3, 2), ema_decay=0.9, dead_code_restart_steps=2),
    )


@pytest.mark.large
@pytest.mark.skipif(
    BACKEND != "tensorflow",
    reason="tf.distribute needs the TensorFlow backend",
)
def test_two_replicas_equal_one_device():
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(check_replicas).result()


@slow_on_jax
def test_frozen_codebooks_neither_start_nor_move():
    quantizer = LinkedQuantizer(CODES, 3, dead_code_restart_steps=1)
    quantizer.build((None, None, None, 3))
    quantizer.trainable = False
    before, z = arrays(quantizer.variables), normal(2, 3, 4, 3)

    def both(z):
        return [quantizer(z, training=training) for training in (True, False)]

    assert_close(*compiled(both, quantizer)(z))
    for old, variable in zip(before, quantizer.variables, strict=True):
        np.testing.assert_array_equal(array(variable), old)
