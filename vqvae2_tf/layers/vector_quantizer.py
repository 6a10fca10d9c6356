"""Vector quantizer with a codebook of exponential moving averages."""

import functools

import keras
from keras import ops

from vqvae2_tf.layers import replicas


@keras.saving.register_keras_serializable("vqvae2_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by the nearest codeword (VQ-VAE-2, eq. 1 and 2).

    The codebook has no gradient. It follows the encoder by the moving averages
    that come after equation 2: counts `N_i` and sums `m_i` of the vectors
    assigned to code i, with `e_i = m_i / N_i`. Laplace smoothing of `N_i`
    applies when the codebook is read; the variable is not smoothed. The lookup
    of a batch uses the codebook before that batch's update. The statistics are
    float32 under every dtype policy and summed over replicas, so that N
    replicas on a split batch get the same codebook as one replica on the whole
    batch.

    The first training batch initializes the codebook with a random selection
    of its vectors. If there are fewer vectors than codes, vectors are used
    repeatedly, with a little noise.

    Example:

        quantizer = VectorQuantizer(num_codes=512, code_dim=64)
        outputs = quantizer(keras.random.normal((8, 16, 16, 64)))
        outputs["codes"].shape  # (8, 16, 16)

    Args:
        num_codes: K, the number of codewords.
        code_dim: D, the width of a codeword.
        commitment_cost: Beta of equation 2.
        ema_decay: Gamma of the moving averages, in [0, 1).
        epsilon: Laplace smoothing of the counts.
        dead_code_restart_steps: A code without a vector in this many
            successive training steps is replaced by a random vector of the
            batch. 0 (default, as in the paper) never replaces codes.
        seed: Seed of the draws from the batch.

    Call arguments:
        z: `[B, H, W, D]` float.
        training: Only `True` updates the codebook, and that only while
            `trainable`, the layer's attribute, is true too.

    Returns:
        dict with `embeddings` `[B, H, W, D]` in the compute dtype (the
        codewords, with a straight-through gradient to `z`), `codes`
        `[B, H, W]` int32 in [0, K), `commitment_loss` float32 scalar: beta
        times the mean over elements of `(sg[e] - z)**2`.

    Raises:
        ValueError: If the width of `z` is not D.
    """

    def __init__(
        self,
        num_codes,
        code_dim,
        commitment_cost=0.25,
        ema_decay=0.99,
        epsilon=1e-5,
        dead_code_restart_steps=0,
        seed=None,
        **kwargs,
    ):
        # `call` casts inputs to float32; Keras would cast them to bfloat16.
        super().__init__(autocast=False, **kwargs)
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.commitment_cost = commitment_cost
        self.ema_decay = ema_decay
        self.epsilon = epsilon
        self.dead_code_restart_steps = dead_code_restart_steps
        self._draws = keras.random.SeedGenerator(seed)
        self._initialized_shape = ()

    def build(self, z_shape):
        if z_shape[-1] != self.code_dim:
            raise ValueError(
                f"`z` must have {self.code_dim} channels (`code_dim`). "
                f"Received: shape {tuple(z_shape)}"
            )

        state = functools.partial(
            self.add_weight, trainable=False, autocast=False
        )
        counts, sums = (self.num_codes,), (self.num_codes, self.code_dim)
        self.ema_counts = state(counts, "ones", "float32", name="ema_counts")
        self.ema_sums = state(sums, "random_normal", "float32", name="ema_sums")
        self.initialized = state(
            self._initialized_shape, "zeros", "bool", name="initialized"
        )
        if self.dead_code_restart_steps:
            self.unused_steps = state(
                counts, "zeros", "int32", name="unused_steps"
            )

    @property
    def codebook(self):
        """The codewords, `[K, D]` float32."""
        total = ops.sum(self.ema_counts)
        scale = total / (total + self.num_codes * self.epsilon)
        smoothed = (self.ema_counts + self.epsilon) * scale
        return self.ema_sums / smoothed[:, None]

    @property
    def mean_vector(self):
        """Moving average of all vectors, `[D]` float32."""
        return ops.sum(self.ema_sums, axis=0) / ops.sum(self.ema_counts)

    def set_codebook(self, codebook):
        """Initializes the codebook, instead of the first training batch.

        Args:
            codebook: `[K, D]` float.
        """
        self.ema_counts.assign(ops.ones((self.num_codes,)))
        self.ema_sums.assign(ops.cast(codebook, "float32"))
        self.initialized.assign(True)

    def embed(self, codes):
        """Codewords of `codes`.

        An unknown code's embedding is `mean_vector`, the constant with the
        least squared error.

        Args:
            codes: `[B, H, W]` int32 in [0, K), or -1 where unknown.

        Returns:
            `[B, H, W, D]` in the compute dtype.
        """
        codes = ops.convert_to_tensor(codes)
        table = ops.concatenate([self.codebook, self.mean_vector[None]])
        rows = ops.where(codes >= 0, codes, self.num_codes)
        return ops.take(ops.cast(table, self.compute_dtype), rows, axis=0)

    def call(self, z, training=False):
        z = ops.cast(z, "float32")
        vectors = ops.reshape(z, (-1, self.code_dim))
        nearest, codebook, _ = self.look_up(vectors, training)
        codes = ops.reshape(nearest, ops.shape(z)[:-1])
        embeddings = ops.stop_gradient(ops.take(codebook, codes, axis=0))
        commitment_loss = self.commitment_cost * ops.mean((embeddings - z) ** 2)
        # e + (z - z) is exactly e; z + (e - z) is rounded.
        embeddings = embeddings + (z - ops.stop_gradient(z))
        return {
            "embeddings": ops.cast(embeddings, self.compute_dtype),
            "codes": codes,
            "commitment_loss": commitment_loss,
        }

    def look_up(self, vectors, training=False, parents=None):
        """Each vector's codeword and, in training, a step of the codebook.

        Args:
            vectors: `[N, D]` float32.
            training: Whether the codebook starts, if it has not, and follows
                the vectors after the lookup; it stays as it is in any case
                where the layer's `trainable` is false.
            parents: None; what a subclass needs to know about the vectors.

        Returns:
            Tuple of the codes, `[N]` int32; the codebook that they were looked
            up in, `[K, D]`; and if it follows them a tuple of the times each
            code was used, over all replicas, and of whether it was drawn anew
            in this step, `[K]` float32 and bool; else None.
        """
        if not training or not self.trainable:
            codebook = self.codebook
            return self._nearest(vectors, codebook, parents), codebook, None
        fixed = ops.stop_gradient(vectors)
        draw = self._draws_from_batch(fixed, parents)
        is_new = self._start(draw, parents)
        codebook = self.codebook
        nearest = self._nearest(vectors, codebook, parents)
        counts, restart = self._update(fixed, nearest, draw, parents)
        return nearest, codebook, (counts, ops.logical_or(is_new, restart))

    def _start(self, draw, parents):
        """Draws the codebook if that is to be done; which codes were drawn."""
        is_warm, sums = self.initialized.value, self.ema_sums.value
        is_cold = ops.logical_not(is_warm)
        self.ema_sums.assign(ops.where(is_warm, sums, draw(is_cold)))
        self.initialized.assign(True)
        return is_cold

    def _nearest(self, vectors, codebook, parents):
        """Index of the codeword nearest to each vector, `[N]` int32."""
        # Products of float32 are rounded on TPUs (bfloat16) and GPUs (TF32).
        # The distances are those of vectors less any constant, and around
        # their mean the products are small.
        mean = ops.stop_gradient(self.mean_vector)
        vectors, codebook = vectors - mean, codebook - mean
        # |z - e|^2 without |z|^2, which is equal for all codes.
        scores = ops.sum(codebook**2, axis=1) + ops.matmul(
            vectors, ops.transpose(-2.0 * codebook)
        )
        # The first of the smallest, as `argmin`, which on TensorFlow passes
        # over floats three times more to tell -0 from 0.
        is_nearest = scores <= ops.min(scores, axis=1, keepdims=True)
        return ops.cast(ops.argmax(is_nearest, axis=1), "int32")

    def _draws_from_batch(self, vectors, parents=None):
        """Draws K vectors of the global batch, equal on every replica.

        Vector i is drawn from the i-th of K sections of the batch, which have
        the same length or differ by 1, so that no vector is drawn twice unless
        there are fewer than K.

        Args:
            vectors: This replica's, `[N, D]`.
            parents: As in `look_up`.

        Returns:
            Function from whether the vectors are needed, a scalar bool tensor,
            to the vectors `[K, D]`, the same at each call; zeros if they are
            not. Only vectors that are needed are sent between replicas.
        """
        codes, num_codes, num_vectors, find = self._candidates(vectors, parents)
        shortest = num_vectors // num_codes
        longer = num_vectors - shortest * num_codes
        start = codes * shortest + ops.minimum(codes, longer)
        length = shortest + ops.cast(codes < longer, "int32")
        uniform = keras.random.uniform((self.num_codes,), seed=self._draws)
        # In float32 a number below 1 may round the product up to the length.
        offset = ops.cast(uniform * ops.cast(length, "float32"), "int32")
        index = start + ops.minimum(offset, length - 1)
        is_scarce = num_vectors < num_codes
        index = ops.where(is_scarce, codes % num_vectors, index)
        shape = (self.num_codes, self.code_dim)
        # A Python bool where the batch's size is static, a tensor where not.
        if is_scarce is not False:
            noise = keras.random.normal(shape, seed=self._draws)

        def draw(needed):
            find_here = find(needed)

            def those_here():
                row, is_here = find_here(index)
                drawn = ops.take(vectors, row, axis=0)
                return ops.where(is_here[:, None], drawn, 0.0)

            drawn = replicas.sum_over_replicas_if(needed, those_here, shape)
            if is_scarce is False:
                return drawn
            scale = ops.where(is_scarce, 0.01 * ops.std(drawn), 0.0)
            return drawn + scale[..., None] * noise

        return draw

    def _candidates(self, vectors, parents):
        """The vectors that each code may be drawn from, numbered.

        Args:
            vectors: This replica's, `[N, D]`.
            parents: As in `look_up`.

        Returns:
            Tuple of each code's number in its codebook, `[K]` int32; the size
            of a codebook; the number of vectors for it, a number or one a code;
            and a function from whether vectors are needed to a function from
            their numbers `[K]` to their rows here `[K]` and whether they are
            here, `[K]` bool.
        """
        replica, num_replicas = replicas.replica_id_and_count()
        local_size = ops.shape(vectors)[0]

        def find_here(index):
            row = index - replica * local_size
            is_here = ops.logical_and(row >= 0, row < local_size)
            return ops.clip(row, 0, local_size - 1), is_here

        codes = ops.arange(self.num_codes, dtype="int32")
        num_vectors = local_size * num_replicas
        return codes, self.num_codes, num_vectors, lambda needed: find_here

    def _update(self, vectors, nearest, draw, parents):
        """A step of the moving averages.

        Args:
            vectors: This replica's, `[N, D]`.
            nearest: Their codes, `[N]` int32.
            draw: What `_draws_from_batch` gave.
            parents: As in `look_up`.

        Returns:
            Tuple of `[K]` float32, the times each code was used, and of a bool
            for all codes or `[K]`, whether it was drawn anew.
        """
        # Segment sums are float32; a one-hot matrix product on a TPU would
        # round its inputs to bfloat16.
        addends = [ops.ones_like(vectors[:, 0]), vectors]
        counts, sums = replicas.sum_over_replicas(
            [ops.segment_sum(x, nearest, self.num_codes) for x in addends]
        )
        decay = self.ema_decay
        ema_counts = decay * self.ema_counts + (1.0 - decay) * counts
        ema_sums = decay * self.ema_sums + (1.0 - decay) * sums
        selected, restart = self._selected(parents), False
        if self.dead_code_restart_steps:
            unused = ops.where(counts > 0, 0, self.unused_steps + 1)
            restart = ops.logical_and(
                selected, unused >= self.dead_code_restart_steps
            )
            ema_counts = ops.where(restart, 1.0, ema_counts)
            drawn = draw(ops.any(restart))
            ema_sums = ops.where(restart[:, None], drawn, ema_sums)
            unused = ops.where(restart, 0, unused)
            self._replace(self.unused_steps, unused, selected)
        self._replace(self.ema_counts, ema_counts, selected)
        self._replace(self.ema_sums, ema_sums, selected)
        return counts, restart

    def _selected(self, parents):
        """Whether a code's averages step: True, or `[K]` bool."""
        return True

    def _replace(self, variable, value, selected):
        """Assigns the values of those codes that are selected."""
        if selected is not True:
            selected = ops.reshape(selected, (-1,) + (1,) * (value.ndim - 1))
            value = ops.where(selected, value, variable.value)
        variable.assign(value)
