"""Compiled sampling that keeps all cores of a CPU busy."""

import os
from collections.abc import Callable

import tensorflow as tf

from vqvae2_tf.flags import empty_batch


def compile_sampler(
    draw: Callable, num_parts: int | None = None
) -> tf.types.experimental.PolymorphicFunction:
    """Compiles a function that draws a batch, in parts drawn side by side.

    XLA draws one position after another, each too little work to share: on a
    CPU it keeps little more than one core busy. The images of a batch are
    independent, so each core draws some of them. Parts of one size are
    compiled once.

    Args:
        draw: Function of a nest of tensors `[B, ...]` and of further
            arguments; returns a nest of tensors `[B, ...]`. Its result for an
            image must not depend on the others.
        num_parts: Most parts of a batch; by default the cores this process
            may use, or 1 if TensorFlow has another device.

    Returns:
        `tf.function` with the arguments and the result of `draw`. It raises
        `ValueError` if B is 0.
    """
    if num_parts is None:
        devices = {d.device_type for d in tf.config.list_logical_devices()}
        num_parts = _usable_cores() if devices == {"CPU"} else 1
    draw_part = tf.function(draw, jit_compile=True)

    @tf.function
    def draw_batch(batch, *others):
        tensors = tf.nest.flatten(batch)
        size = len(tensors[0])
        if not size:
            raise ValueError(empty_batch("batch"))
        count = min(num_parts, size)
        # Of B = 7 and two parts: 4 and 3.
        sizes = [(size + i) // count for i in reversed(range(count))]
        parts = zip(*(tf.split(x, sizes) for x in tensors), strict=True)
        drawn = [
            draw_part(tf.nest.pack_sequence_as(batch, part), *others)
            for part in parts
        ]
        return tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *drawn)

    return draw_batch


def _usable_cores():
    if hasattr(os, "sched_getaffinity"):  # Linux.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
