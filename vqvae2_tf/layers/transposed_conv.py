"""Transposed convolution whose gradients XLA computes fast on CPUs too."""

import keras
from keras import ops


def transposed_conv(x, kernel, stride, padding):
    """`keras.ops.conv_transpose`, with the gradients of a strided convolution.

    A transposed convolution is the adjoint of a strided one, and so its
    kernel's gradient is that of the strided one's with input and gradient
    exchanged. JAX derives another program, which XLA computes on CPUs by a
    loop: 40 times slower (docs/results.md).

    Args:
        x: `[B, H, W, C]` float.
        kernel: `[size, size, filters, C]` float, a tensor or a variable.
        stride: Factor by which height and width grow; at most `size`.
        padding: `same`; or `valid`, the same where `size` is `stride`.

    Returns:
        `[B, H * stride, W * stride, filters]` float.
    """
    if keras.backend.backend() != "jax":
        return ops.conv_transpose(x, kernel, stride, padding=padding)
    import jax

    @jax.custom_gradient
    def transposed(x, kernel):
        def gradients(upstream):
            def strided(kernel):
                return ops.conv(upstream, kernel, stride, padding=padding)

            of_x, of_kernel = jax.vjp(strided, kernel)
            return of_x, *of_kernel(x)

        return ops.conv_transpose(x, kernel, stride, padding=padding), gradients

    return transposed(x, ops.convert_to_tensor(kernel))
