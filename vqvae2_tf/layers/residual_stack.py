"""Residual stack of the VQ-VAE's encoder and decoder."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("vqvae2_tf")
class ResidualStack(keras.layers.Layer):
    """ReLU, 3x3, ReLU, 1x1, added to its input; repeated; then ReLU.

    The stack of the VQ-VAE implementation that the paper uses (VQ-VAE-2,
    section 2.1; sizes in table 3 of the supplement).

    Args:
        hidden_units: Width of the features that run through the stack.
        residual_units: Inner width, of the 3x3 convolutions.
        num_residual_layers: Number of repetitions.

    Call arguments:
        x: `[B, H, W, hidden_units]` float.

    Returns:
        `[B, H, W, hidden_units]` float, not negative.
    """

    def __init__(
        self, hidden_units, residual_units, num_residual_layers, **kwargs
    ):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.residual_units = residual_units
        self.num_residual_layers = num_residual_layers
        conv = keras.layers.Conv2D
        policy = self.dtype_policy
        self.inner_convs = [
            conv(residual_units, 3, padding="same", dtype=policy)
            for _ in range(num_residual_layers)
        ]
        # Half of Glorot's deviation: branches begin small beside their input.
        self.outer_convs = [
            conv(
                hidden_units,
                1,
                kernel_initializer=keras.initializers.VarianceScaling(
                    0.25, mode="fan_avg", distribution="uniform"
                ),
                dtype=policy,
            )
            for _ in range(num_residual_layers)
        ]

    def build(self, x_shape):
        inner_shape = (*x_shape[:-1], self.residual_units)
        for inner, outer in zip(
            self.inner_convs, self.outer_convs, strict=True
        ):
            inner.build(x_shape)
            outer.build(inner_shape)

    def call(self, x):
        for inner, outer in zip(
            self.inner_convs, self.outer_convs, strict=True
        ):
            x = x + outer(ops.relu(inner(ops.relu(x))))
        return ops.relu(x)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "residual_units": self.residual_units,
            "num_residual_layers": self.num_residual_layers,
        }
