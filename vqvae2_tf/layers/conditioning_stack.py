"""Residual conditioning stack of the priors below the top level."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.biased import Conv2DTranspose


@keras.saving.register_keras_serializable("vqvae2_tf")
class BottleneckBlock(keras.layers.Layer):
    """Pre-activation bottleneck block, without its skip connection.

    `resnet_block` of the pseudocode in VQ-VAE-2, supplement A.2: BatchNorm,
    ReLU, 1x1, ReLU, 3x3, ReLU, 1x1. Batch statistics are computed over all
    replicas together.

    Args:
        inner_units: Width of the first two convolutions.

    Call arguments:
        x: `[B, H, W, C]` float.
        training: Whether to use batch statistics and to update the moving
            averages.

    Returns:
        `[B, H, W, C]` float.
    """

    def __init__(self, inner_units, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy.name
        conv = Conv2D
        self.norm = keras.layers.BatchNormalization(
            # On JAX the statistics are of the whole batch anyway, and Keras
            # rejects the argument.
            synchronized=keras.backend.backend() == "tensorflow",
            dtype=policy,
        )
        self.first_conv = conv(inner_units, 1, dtype=policy)
        self.second_conv = conv(inner_units, 3, padding="same", dtype=policy)

    def build(self, x_shape):
        policy = self.dtype_policy.name
        self.third_conv = Conv2D(x_shape[-1], 1, dtype=policy)
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x, training=False):
        x = ops.relu(self.norm(x, training=training))
        x = ops.relu(self.first_conv(x))
        x = ops.relu(self.second_conv(x))
        return self.third_conv(x)


@keras.saving.register_keras_serializable("vqvae2_tf")
class ConditioningStack(keras.layers.Layer):
    """U-Net over the embedded coarser codes (VQ-VAE-2, supplement A.2).

    The pseudocode's `conditioning_stack`: bottleneck blocks at full, half and
    quarter resolution and back, `blocks` of them at quarter resolution and
    `blocks // 2` in each of the other stages. A map that 4 does not divide
    is cropped after upsampling.

    Args:
        units: Width at full resolution, 1024 in the paper. The width at lower
            resolutions is twice that. A block's inner width is a quarter of
            its outer width.
        blocks: `num_conditioning_blocks` of the pseudocode.

    Call arguments:
        x: `[B, H, W, C]` float.
        training: Whether batch normalization uses batch statistics and
            updates its moving averages.

    Returns:
        `[B, H, W, units]` float.
    """

    def __init__(self, units, blocks, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        policy = self.dtype_policy.name

        def bottlenecks(count, width):
            return [
                BottleneckBlock(width // 4, dtype=policy) for _ in range(count)
            ]

        conv = Conv2D
        transposed = Conv2DTranspose
        half = blocks // 2
        self.entry = conv(units, 1, dtype=policy)
        self.down_blocks = bottlenecks(half, units)
        self.down = conv(2 * units, 1, 2, padding="same", dtype=policy)
        self.half_down_blocks = bottlenecks(half, 2 * units)
        self.half_down = conv(2 * units, 1, 2, padding="same", dtype=policy)
        self.quarter_blocks = bottlenecks(blocks, 2 * units)
        self.half_up = transposed(2 * units, 2, 2, dtype=policy)
        self.half_up_blocks = bottlenecks(half, 2 * units)
        self.up = transposed(units, 2, 2, dtype=policy)
        self.up_blocks = bottlenecks(half, units)

    def build(self, x_shape):
        # Before the call, for the order in which first weights are drawn.
        for block in [*self.down_blocks, *self.up_blocks]:
            block.build((*x_shape[:-1], self.units))
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x, training=False):
        def add_blocks(h, blocks):
            for block in blocks:
                h = h + block(h, training=training)
            return h

        def add_upsampled(h, upsampled):
            return h + upsampled[:, : ops.shape(h)[1], : ops.shape(h)[2]]

        full = add_blocks(self.entry(x), self.down_blocks)
        half = add_blocks(self.down(full), self.half_down_blocks)
        quarter = add_blocks(self.half_down(half), self.quarter_blocks)
        half = add_upsampled(half, self.half_up(quarter))
        half = add_blocks(half, self.half_up_blocks)
        full = add_upsampled(full, self.up(half))
        return add_blocks(full, self.up_blocks)
