"""Vector quantizer whose codebook is an exponential moving average."""

import keras
from keras import ops

from vqvae2_tf.layers import replicas


@keras.saving.register_keras_serializable("vqvae2_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by the nearest codeword (VQ-VAE-2, eq. 1 and 2).

    The codebook has no gradient. It follows the encoder by the moving averages
    that come after equation 2: counts `N_i` and sums `m_i` of the vectors that
    fell to code i, with `e_i = m_i / N_i`. `N_i` is Laplace-smoothed when the
    codebook is read and never in the variable. Lookup uses the codebook from
    before the batch's own update. All of it is float32 whatever the layer's
    dtype policy, and summed over replicas, so that N replicas on a split batch
    end in the same codebook as one on the whole batch.

    The first training batch sets the codebook: codewords are drawn from its
    vectors, with replacement and a little noise if there are fewer vectors
    than codes.

    Args:
        num_codes: K, the number of codewords.
        code_dim: D, the width of a codeword.
        commitment_cost: Beta of equation 2.
        ema_decay: Gamma of the moving averages, in [0, 1).
        epsilon: Laplace smoothing of the counts.
        restart_after: A code that no vector fell to for this many training
            steps is drawn anew from the batch. 0 (default) never restarts, as
            in the paper.
        seed: Seed of the draws from the batch.

    Call arguments:
        z: `[B, H, W, D]` float.
        training: Only `True` updates the codebook.

    Returns:
        dict with `embeddings` `[B, H, W, D]` in the compute dtype (the
        codewords; their gradient passes straight through to `z`), `codes`
        `[B, H, W]` int32 in [0, K), `commitment_loss` float32 scalar: beta
        times the mean over elements of `(sg[e] - z)**2`.

    Raises:
        ValueError: If an argument is out of range or z's last axis is not D.
    """

    def __init__(
        self,
        num_codes,
        code_dim,
        commitment_cost=0.25,
        ema_decay=0.99,
        epsilon=1e-5,
        restart_after=0,
        seed=None,
        **kwargs,
    ):
        # Inputs are cast here, to float32, and not by Keras to bfloat16.
        super().__init__(autocast=False, **kwargs)
        if num_codes < 1 or code_dim < 1:
            raise ValueError(
                "`num_codes` and `code_dim` must be at least 1. "
                f"Received: num_codes={num_codes}, code_dim={code_dim}"
            )
        if not 0.0 <= ema_decay < 1.0:
            raise ValueError(
                f"`ema_decay` must be in [0, 1). Received: {ema_decay}"
            )
        if commitment_cost < 0 or restart_after < 0:
            raise ValueError(
                "`commitment_cost` and `restart_after` must not be negative. "
                f"Received: commitment_cost={commitment_cost}, "
                f"restart_after={restart_after}"
            )
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.commitment_cost = commitment_cost
        self.ema_decay = ema_decay
        self.epsilon = epsilon
        self.restart_after = restart_after
        self.seed = seed
        self._draws = keras.random.SeedGenerator(seed)

    def build(self, z_shape):
        if z_shape[-1] != self.code_dim:
            raise ValueError(
                f"`z` must have {self.code_dim} channels (`code_dim`). "
                f"Received: shape {tuple(z_shape)}"
            )

        def state(name, shape, initializer, dtype="float32"):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                dtype=dtype,
                trainable=False,
                autocast=False,
            )

        self.ema_counts = state("ema_counts", (self.num_codes,), "ones")
        self.ema_sums = state(
            "ema_sums", (self.num_codes, self.code_dim), "random_normal"
        )
        self.initialized = state("initialized", (), "zeros", "bool")
        if self.restart_after:
            self.unused_steps = state(
                "unused_steps", (self.num_codes,), "zeros", "int32"
            )

    @property
    def codebook(self):
        """The codewords, `[K, D]` float32."""
        counts = ops.convert_to_tensor(self.ema_counts)
        total = ops.sum(counts)
        smoothed = (counts + self.epsilon) * (
            total / (total + self.num_codes * self.epsilon)
        )
        return ops.convert_to_tensor(self.ema_sums) / smoothed[:, None]

    @property
    def mean_vector(self):
        """Mean of the vectors the codebook was made of, `[D]` float32."""
        return ops.sum(self.ema_sums, axis=0) / ops.sum(self.ema_counts)

    def set_codebook(self, codebook):
        """Starts from a given codebook instead of the first batch's vectors.

        Args:
            codebook: `[K, D]` float.
        """
        self.ema_counts.assign(ops.ones((self.num_codes,)))
        self.ema_sums.assign(ops.cast(codebook, "float32"))
        self.initialized.assign(True)

    def embed(self, codes):
        """Codewords of `codes`.

        Where a code is not known its place is taken by the mean of the vectors
        that the codebook was made of: of all constants, the nearest to them.

        Args:
            codes: `[B, H, W]` int32 in [0, K), or -1 where not known.

        Returns:
            `[B, H, W, D]` in the compute dtype.
        """
        codes = ops.convert_to_tensor(codes)
        known = codes >= 0
        embeddings = ops.where(
            known[..., None],
            ops.take(self.codebook, ops.where(known, codes, 0), axis=0),
            self.mean_vector,
        )
        return ops.cast(embeddings, self.compute_dtype)

    def call(self, z, training=False):
        z = ops.cast(z, "float32")
        vectors = ops.reshape(z, (-1, self.code_dim))
        if training:
            candidates = self._draw_from_batch(ops.stop_gradient(vectors))
            self._cold_start(candidates)
        codebook = self.codebook
        # |z - e|^2 without |z|^2, which is the same for every code.
        scores = ops.sum(codebook**2, axis=1) - 2.0 * ops.matmul(
            vectors, ops.transpose(codebook)
        )
        nearest = ops.cast(ops.argmin(scores, axis=1), "int32")
        if training:
            self._update(ops.stop_gradient(vectors), nearest, candidates)

        codes = ops.reshape(nearest, ops.shape(z)[:-1])
        embeddings = ops.stop_gradient(ops.take(codebook, codes, axis=0))
        commitment_loss = self.commitment_cost * ops.mean((embeddings - z) ** 2)
        # e + (z - z) rather than z + (e - z): the value is e to the last bit.
        embeddings = embeddings + (z - ops.stop_gradient(z))
        return {
            "embeddings": ops.cast(embeddings, self.compute_dtype),
            "codes": codes,
            "commitment_loss": commitment_loss,
        }

    def _draw_from_batch(self, vectors):
        """K vectors of the global batch, the same on every replica.

        Code i is drawn from the i-th of K equal stretches of the batch, so no
        vector is drawn twice unless there are fewer than K.
        """
        replica, num_replicas = replicas.replica_id_and_count()
        local_size = ops.shape(vectors)[0]
        stretch = ops.cast(local_size * num_replicas, "float32") / float(
            self.num_codes
        )
        uniform = keras.random.uniform((self.num_codes,), seed=self._draws)
        # A stretch minus one leaves a gap, so that neighbours differ.
        position = ops.arange(self.num_codes, dtype="float32") * stretch
        position = position + uniform * ops.maximum(stretch - 1.0, 0.0)
        index = ops.cast(position, "int32") - replica * local_size
        is_here = ops.logical_and(index >= 0, index < local_size)
        drawn = ops.take(vectors, ops.clip(index, 0, local_size - 1), axis=0)
        drawn = ops.where(is_here[:, None], drawn, ops.zeros_like(drawn))
        (drawn,) = replicas.sum_over_replicas([drawn])
        noise = keras.random.normal(
            (self.num_codes, self.code_dim), seed=self._draws
        )
        scale = ops.where(stretch < 1.0, 0.01 * ops.std(drawn), 0.0)
        return drawn + scale * noise

    def _cold_start(self, candidates):
        self.ema_sums.assign(
            ops.where(
                ops.convert_to_tensor(self.initialized),
                ops.convert_to_tensor(self.ema_sums),
                candidates,
            )
        )
        self.initialized.assign(ops.ones((), dtype="bool"))

    def _update(self, vectors, nearest, candidates):
        # Segment sums add in float32; a one-hot matrix product would round to
        # bfloat16 on a TPU.
        counts, sums = replicas.sum_over_replicas(
            [
                ops.segment_sum(
                    ops.ones_like(vectors[:, 0]), nearest, self.num_codes
                ),
                ops.segment_sum(vectors, nearest, self.num_codes),
            ]
        )
        decay = self.ema_decay
        ema_counts = decay * self.ema_counts + (1.0 - decay) * counts
        ema_sums = decay * self.ema_sums + (1.0 - decay) * sums
        if self.restart_after:
            unused = ops.where(counts > 0, 0, self.unused_steps + 1)
            restart = unused >= self.restart_after
            ema_counts = ops.where(restart, 1.0, ema_counts)
            ema_sums = ops.where(restart[:, None], candidates, ema_sums)
            self.unused_steps.assign(ops.where(restart, 0, unused))
        self.ema_counts.assign(ema_counts)
        self.ema_sums.assign(ema_sums)

    def compute_output_spec(self, z, training=False):
        return {
            "embeddings": keras.KerasTensor(z.shape, dtype=self.compute_dtype),
            "codes": keras.KerasTensor(z.shape[:-1], dtype="int32"),
            "commitment_loss": keras.KerasTensor((), dtype="float32"),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "commitment_cost": self.commitment_cost,
            "ema_decay": self.ema_decay,
            "epsilon": self.epsilon,
            "restart_after": self.restart_after,
            "seed": self.seed,
        }
