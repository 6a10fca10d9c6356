"""Keras' layers with biases whose gradients are exact in bfloat16 too."""

import keras
from keras import ops

from vqvae2_tf.layers.transposed_conv import transposed_conv


def add_bias(x, bias, training):
    """Adds a bias, so that its gradient is added up in float32.

    Keras adds it by TensorFlow's BiasAdd, which is the faster one, but whose
    gradient on CPUs adds up bfloat16 numbers in bfloat16: the sum of 65,536
    that are mostly positive comes to a quarter of what it is. On JAX that of
    any sum with a bfloat16 bias does.

    Args:
        x: `[..., C]` float.
        bias: `[C]` float.
        training: Whether there are gradients.
    """
    if not training:
        return ops.add(x, bias)
    if keras.backend.backend() == "jax":
        bias = ops.broadcast_to(ops.cast(bias, "float32"), ops.shape(x))
        bias = ops.cast(bias, x.dtype)
    return x + bias


@keras.saving.register_keras_serializable("vqvae2_tf")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, without an activation."""

    def call(self, x, training=False):
        outputs = self.convolution_op(x, self.kernel)
        return add_bias(outputs, self.bias, training)


@keras.saving.register_keras_serializable("vqvae2_tf")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, without an activation."""

    def call(self, x, training=False):
        stride, _ = self.strides
        outputs = transposed_conv(x, self.kernel, stride, self.padding)
        return add_bias(outputs, self.bias, training)


@keras.saving.register_keras_serializable("vqvae2_tf")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, without an activation."""

    def call(self, x, training=False):
        return add_bias(ops.matmul(x, self.kernel), self.bias, training)
