"""Residual conditioning stack of the priors below the top."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("vqvae2_tf")
class BottleneckBlock(keras.layers.Layer):
    """Pre-activation bottleneck with batch normalization, not yet added.

    `resnet_block` of the pseudocode in VQ-VAE-2, supplement A.2: BatchNorm,
    ReLU, 1x1, ReLU, 3x3, ReLU, 1x1. Batch statistics are those of all
    replicas together.

    Args:
        inner_units: Width of the first two convolutions.

    Call arguments:
        x: `[B, H, W, C]` float.
        training: Whether batch statistics are used, and the moving ones
            updated.

    Returns:
        `[B, H, W, C]` float.
    """

    def __init__(self, inner_units, **kwargs):
        super().__init__(**kwargs)
        self.inner_units = inner_units
        policy = self.dtype_policy
        conv = keras.layers.Conv2D
        self.norm = keras.layers.BatchNormalization(
            # JAX sees the whole batch anyway, and has no such argument.
            synchronized=keras.backend.backend() == "tensorflow",
            dtype=policy,
        )
        self.first_conv = conv(inner_units, 1, dtype=policy)
        self.second_conv = conv(inner_units, 3, padding="same", dtype=policy)

    def build(self, x_shape):
        inner_shape = (*x_shape[:-1], self.inner_units)
        self.norm.build(x_shape)
        self.first_conv.build(x_shape)
        self.second_conv.build(inner_shape)
        self.third_conv = keras.layers.Conv2D(
            x_shape[-1], 1, dtype=self.dtype_policy
        )
        self.third_conv.build(inner_shape)

    def call(self, x, training=False):
        x = ops.relu(self.norm(x, training=training))
        x = ops.relu(self.first_conv(x))
        x = ops.relu(self.second_conv(x))
        return self.third_conv(x)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "inner_units": self.inner_units}


@keras.saving.register_keras_serializable("vqvae2_tf")
class ConditioningStack(keras.layers.Layer):
    """U-Net over the embedded coarser codes (VQ-VAE-2, supplement A.2).

    The pseudocode's `conditioning_stack`: bottleneck blocks at full, half and
    quarter resolution and back, `num_blocks // 2` a stage and `num_blocks` at
    the lowest. Maps that 4 does not divide are cropped back after upsampling.

    Args:
        units: Width at full resolution, twice that below it; 1024 in the
            paper. The blocks' inner width is a quarter of it.
        num_blocks: `num_conditioning_blocks` of the pseudocode.

    Call arguments:
        x: `[B, H, W, C]` float.
        training: As for batch normalization.

    Returns:
        `[B, H, W, units]` float.
    """

    def __init__(self, units, num_blocks, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.num_blocks = num_blocks
        policy = self.dtype_policy

        def blocks(count, width):
            return [
                BottleneckBlock(width // 4, dtype=policy) for _ in range(count)
            ]

        conv = keras.layers.Conv2D
        transposed = keras.layers.Conv2DTranspose
        half = num_blocks // 2
        self.entry = conv(units, 1, dtype=policy)
        self.down_blocks = blocks(half, units)
        self.down = conv(2 * units, 1, 2, padding="same", dtype=policy)
        self.half_down_blocks = blocks(half, 2 * units)
        self.half_down = conv(2 * units, 1, 2, padding="same", dtype=policy)
        self.quarter_blocks = blocks(num_blocks, 2 * units)
        self.half_up = transposed(2 * units, 2, 2, dtype=policy)
        self.half_up_blocks = blocks(half, 2 * units)
        self.up = transposed(units, 2, 2, dtype=policy)
        self.up_blocks = blocks(half, units)

    def build(self, x_shape):
        self.entry.build(x_shape)
        full = (*x_shape[:-1], self.units)
        low = (None, None, None, 2 * self.units)
        for layer in [*self.down_blocks, self.down, *self.up_blocks]:
            layer.build(full)
        for layer in [
            *self.half_down_blocks,
            self.half_down,
            *self.quarter_blocks,
            self.half_up,
            *self.half_up_blocks,
            self.up,
        ]:
            layer.build(low)

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

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_blocks": self.num_blocks,
        }
