"""Residual quantizer whose codebooks are linked to the codes before."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from vqvae2_tf.layers import replicas
from vqvae2_tf.layers.vector_quantizer import VectorQuantizer


@keras.saving.register_keras_serializable("vqvae2_tf")
class LinkedQuantizer(keras.layers.Layer):
    """Quantizes what the layers before left, in the codebook that they select.

    The quantizer of HR-VQVAE. Layer 1 is a `VectorQuantizer` of m_1 codes.
    Layer i looks up the residual, `z` less the codewords of the layers before,
    in the codebook that belongs to the codes chosen so far: there are m_1 m_2
    ... m_(i-1) codebooks of m_i codewords, 8, 64 and 512 codewords in all for
    three layers of 8, of which each lookup compares with 8. Codes are local, in
    [0, m_i); `global_codes` numbers them through.

    Each codebook of a layer follows its residuals by moving averages of its
    own, as `VectorQuantizer` does, and only in steps in which its parent, the
    code that selects it, was used: an unused parent's codebook stays as it is.
    A codebook starts in the first such step, with a random selection of the
    residuals of its parent's vectors; in training its codewords are zero until
    then. It starts anew after its parent was drawn anew, and so do those below
    it. A dead code is replaced by a random residual of its parent's vectors.

    Residuals are formed of the codewords themselves, without the
    straight-through gradient, so that each layer's commitment reaches the
    encoder. The paper has a further, global commitment,
    `(sg[sum of e] - z)**2`. Value and gradient are those of the last layer's
    own: it is a larger weight there, `commitment_cost=(0.25, 0.25, 0.5)`.

    Example:

        quantizer = LinkedQuantizer(num_codes=(8, 8, 8), code_dim=32)
        outputs = quantizer(keras.random.normal((4, 16, 16, 32)))
        [codes.shape for codes in outputs["codes"]]  # 3 times (4, 16, 16)

    Args:
        num_codes: m of each layer, one number a layer.
        code_dim: D, the width of a codeword.
        commitment_cost: Beta, one for all layers or one a layer.
        ema_decay: Gamma of the moving averages, in [0, 1).
        epsilon: Laplace smoothing of the counts.
        dead_code_restart_steps: A code without a vector in this many
            successive training steps in which its parent had some is replaced.
            0 (default) never replaces codes.
        seed: Seed of the draws from the batch.

    Call arguments:
        z: `[B, H, W, D]` float.
        training: Only `True` updates the codebooks, and that only while
            `trainable`, the layer's attribute, is true too.

    Returns:
        dict with `embeddings` `[B, H, W, D]` in the compute dtype (the sum of
        the layers' codewords, with a straight-through gradient to `z`),
        `codes`, a list of one `[B, H, W]` int32 in [0, m_i) a layer, and
        `commitment_loss` float32 scalar: the sum over layers of beta times the
        mean over elements of `(sg[e_i] - residual_i)**2`.

    Raises:
        ValueError: If there is no layer, if there are costs for another number
            of layers, or if the width of `z` is not D.
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
        self.num_codes = tuple(num_codes)
        if not self.num_codes:
            raise ValueError("`num_codes` must hold one number a layer.")
        if math.prod(self.num_codes) > 2**24:
            raise ValueError(
                "`num_codes`: the last layer has their product of codewords, "
                f"at most {2**24:,}. Received: {self.num_codes}"
            )
        costs = np.ravel(commitment_cost).tolist()
        if len(costs) not in (1, len(self.num_codes)):
            raise ValueError(
                "`commitment_cost` must hold one number, or one for each of "
                f"{len(self.num_codes)} layers. Received: {commitment_cost}"
            )
        self.commitment_costs = costs * (len(self.num_codes) // len(costs))
        self.code_dim = code_dim

        def averages(make, i, **own):
            return make(
                num_codes=self.num_codes[i],
                code_dim=code_dim,
                ema_decay=ema_decay,
                epsilon=epsilon,
                dead_code_restart_steps=dead_code_restart_steps,
                seed=None if seed is None else seed + i,
                dtype=self.dtype_policy,
                name=f"layer_{i + 1}",
                **own,
            )

        self.layers = [averages(VectorQuantizer, 0)]
        for i in range(1, len(self.num_codes)):
            above = self.layers[-1].num_codes
            self.layers.append(averages(_Children, i, num_parents=above))

    def build(self, z_shape):
        for layer in self.layers:
            layer.build(z_shape)

    def codebook(self, index):
        """All codewords of a layer, `[m_1 ... m_i, D]` float32.

        Args:
            index: Number of the layer, from 0.

        Returns:
            The codewords in the order of the global codes. A finer layer's are
            differences to those of the layers above.
        """
        return self.layers[index].codebook

    def global_codes(self, codes):
        """Codes that name a codeword of all the codebooks of their layer.

        Args:
            codes: List of `[B, H, W]` int32 in [0, m_i), or -1 where unknown.

        Returns:
            List of `[B, H, W]` int32: a layer's code, plus m_i times the global
            code of the layer above; -1 where any of the two is unknown.
        """
        found = []
        for layer, local in zip(self.num_codes, codes, strict=True):
            local = ops.convert_to_tensor(local)
            if found:
                known = ops.logical_and(found[-1] >= 0, local >= 0)
                local = ops.where(known, found[-1] * layer + local, -1)
            found.append(local)
        return found

    def embed(self, codes):
        """The sum of the codewords of `codes`.

        Where a layer is unknown, it and the finer layers add nothing, so that
        the codewords above are left, each the mean of the vectors that had it.
        Where layer 1 is unknown, the embedding is the mean of all vectors.

        Args:
            codes: List of `[B, H, W]` int32 in [0, m_i), or -1 where unknown.

        Returns:
            `[B, H, W, D]` in the compute dtype.
        """
        embeddings = 0.0
        unknown = self.layers[0].mean_vector
        pairs = zip(self.layers, self.global_codes(codes), strict=True)
        for layer, path in pairs:
            known = path >= 0
            codewords = ops.take(
                layer.codebook, ops.where(known, path, 0), axis=0
            )
            embeddings += ops.where(known[..., None], codewords, unknown)
            unknown = 0.0
        return ops.cast(embeddings, self.compute_dtype)

    def call(self, z, training=False):
        z = ops.cast(z, "float32")
        shape = ops.shape(z)[:-1]
        residual, embeddings, loss = z, 0.0, 0.0
        codes, parents = [], None
        for i, layer in enumerate(self.layers):
            vectors = ops.reshape(residual, (-1, self.code_dim))
            path, codebook, statistics = layer.look_up(
                vectors, training, parents
            )
            parents = _Parents(path, *(statistics or ()))
            path = ops.reshape(path, shape)
            codes.append(path % self.num_codes[i] if i else path)
            codewords = ops.stop_gradient(ops.take(codebook, path, axis=0))
            error = ops.mean((codewords - residual) ** 2)
            loss += self.commitment_costs[i] * error
            residual = residual - codewords
            embeddings += codewords
        # e + (z - z) is exactly e; z + (e - z) is rounded.
        embeddings = embeddings + (z - ops.stop_gradient(z))
        return {
            "embeddings": ops.cast(embeddings, self.compute_dtype),
            "codes": codes,
            "commitment_loss": loss,
        }


@dataclasses.dataclass(frozen=True)
class _Parents:
    """What a layer's lookup tells the layer below.

    Args:
        codes: Each vector's code, `[N]` int32 in [0, G).
        counts: `[G]` float32, the times each was used, over all replicas; None
            outside training.
        is_new: Whether each was drawn anew in this step, `[G]` bool or one for
            all; None outside training.
    """

    codes: Any
    counts: Any = None
    is_new: Any = None


class _Children(VectorQuantizer):
    """A codebook of m codewords for each of G parents.

    Its code is the parent's times m plus the number of the codeword in the
    parent's codebook.

    Args:
        num_parents: G.
        num_codes: m.
        **kwargs: As for `VectorQuantizer`.
    """

    def __init__(self, num_parents, num_codes, **kwargs):
        super().__init__(num_codes=num_parents * num_codes, **kwargs)
        self.num_parents = num_parents
        self.num_children = num_codes
        self._initialized_shape = (num_parents,)

    @property
    def codebook(self):
        counts = ops.reshape(self.ema_counts, (-1, self.num_children))
        total = ops.sum(counts, axis=1, keepdims=True)
        scale = total / (total + self.num_children * self.epsilon)
        smoothed = ops.reshape((counts + self.epsilon) * scale, (-1, 1))
        return self.ema_sums / smoothed

    def _each(self, values):
        """A value of each parent's for each of its children."""
        return ops.repeat(values, self.num_children, axis=0)

    def _selected(self, parents):
        return self._each(parents.counts > 0)

    def _nearest(self, vectors, codebook, parents):
        # One codeword of each vector's codebook after another: memory for the
        # vectors once. The differences are exact on TPUs too.
        vectors = ops.stop_gradient(vectors)
        first = parents.codes * self.num_children

        def compare(child, nearest):
            code, smallest = nearest
            codewords = ops.take(codebook, first + child, axis=0)
            distance = ops.sum((codewords - vectors) ** 2, axis=1)
            nearer = distance < smallest
            return (
                ops.where(nearer, first + child, code),
                ops.where(nearer, distance, smallest),
            )

        infinite = ops.full_like(vectors[:, 0], float("inf"))
        nearest, _ = ops.fori_loop(
            0, self.num_children, compare, (first, infinite)
        )
        return nearest

    def _start(self, draw, parents):
        is_warm = ops.logical_and(
            self.initialized.value, ops.logical_not(parents.is_new)
        )
        is_selected = parents.counts > 0
        is_new = self._each(ops.logical_not(is_warm))
        is_cold = ops.logical_and(is_selected, ops.logical_not(is_warm))
        drawn = draw(ops.any(is_cold))
        # Zeros where there is nothing to draw from.
        self.ema_sums.assign(
            ops.where(is_new[:, None], drawn, self.ema_sums.value)
        )
        self.ema_counts.assign(ops.where(is_new, 1.0, self.ema_counts.value))
        if self.dead_code_restart_steps:
            self.unused_steps.assign(
                ops.where(is_new, 0, self.unused_steps.value)
            )
        self.initialized.assign(ops.logical_or(is_warm, is_selected))
        return is_new

    def _candidates(self, vectors, parents):
        replica, num_replicas = replicas.replica_id_and_count()
        local_counts = ops.segment_sum(
            ops.ones_like(parents.codes), parents.codes, self.num_parents
        )
        codes = ops.arange(self.num_codes, dtype="int32")
        parent = codes // self.num_children

        def find(needed):
            """Where a parent's n-th vector is, in the order of the batch."""
            before = ops.zeros((self.num_parents,), "int32")
            if num_replicas > 1:
                shape = (num_replicas, self.num_parents)
                is_mine = ops.equal(ops.arange(num_replicas), replica)
                mine = ops.where(is_mine[:, None], local_counts, 0)
                counts = replicas.sum_over_replicas_if(
                    needed, lambda: ops.cast(mine, "float32"), shape
                )
                is_before = ops.less(ops.arange(num_replicas), replica)
                before = ops.where(is_before[:, None], counts, 0.0)
                before = ops.cast(ops.sum(before, axis=0), "int32")

            def find_here(index):
                # Stable, on both backends.
                order = ops.argsort(parents.codes)
                start = ops.cumsum(local_counts) - local_counts
                row = index - ops.take(before, parent)
                is_here = ops.logical_and(
                    row >= 0, row < ops.take(local_counts, parent)
                )
                row = ops.where(is_here, row + ops.take(start, parent), 0)
                return ops.take(order, row), is_here

            return find_here

        # A parent without vectors has none here for any number.
        counts = ops.cast(parents.counts, "int32")
        counts = ops.where(counts > 0, counts, self.num_children)
        numbers = codes % self.num_children
        return numbers, self.num_children, self._each(counts), find
