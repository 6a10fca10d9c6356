"""Residual stack of the VQ-VAE's encoder and decoder."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Conv2D


@keras.saving.register_keras_serializable("vqvae2_tf")
class ResidualStack(keras.layers.Layer):
    """Adds ReLU, 3x3, ReLU, 1x1 to its input, repeatedly; ends in a ReLU.

    The stack of the VQ-VAE implementation that the paper uses (VQ-VAE-2,
    section 2.1; sizes in table 3 of the supplement).

    Args:
        hidden_units: Width of the input and of the output.
        residual_units: Width of the 3x3 convolutions.
        residual_layers: Number of repetitions.

    Call arguments:
        x: `[B, H, W, hidden_units]` float.

    Returns:
        `[B, H, W, hidden_units]` float, not negative.
    """

    def __init__(self, hidden_units, residual_units, residual_layers, **kwargs):
        super().__init__(**kwargs)
        conv = Conv2D
        policy = self.dtype_policy.name
        self.inner_convs = [
            conv(residual_units, 3, padding="same", dtype=policy)
            for _ in range(residual_layers)
        ]

        def outer_conv():
            # Half of Glorot's deviation: at first the input outweighs the sums.
            kernel = keras.initializers.VarianceScaling(
                0.25, "fan_avg", "uniform"
            )
            return conv(
                hidden_units, 1, kernel_initializer=kernel, dtype=policy
            )

        self.outer_convs = [outer_conv() for _ in range(residual_layers)]

    def build(self, x_shape):
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x):
        convs = zip(self.inner_convs, self.outer_convs, strict=True)
        for inner, outer in convs:
            x = x + outer(ops.relu(inner(ops.relu(x))))
        return ops.relu(x)
