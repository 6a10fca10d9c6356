"""Stage 1: training, encoding and decoding at the paper's widths."""

import time

import keras
import numpy as np

from benchmarks.timing import compiled
from benchmarks.timing import median_seconds
from benchmarks.timing import peak_gib
from benchmarks.timing import train_step
from benchmarks.timing import wait
from vqvae2_tf.autoencoders import VQVAE2


def stage1(image_size, strides, batch_size, repeats):
    """Times one step of stage 1 at the paper's widths.

    Returns:
        dict of `train_step_s` (seconds of an optimizer step with the codebook's
        and the averages' updates), `train_images_per_s`,
        `encode_images_per_s`, `decode_images_per_s` (medians), `compile_s`
        (seconds of the three first calls) and `peak_gib` (most memory that the
        process ever held).
    """
    model = VQVAE2(strides, seed=0)
    model.build((None, image_size, image_size, 3))
    images = np.random.default_rng(0).uniform(
        -1.0, 1.0, (batch_size, image_size, image_size, 3)
    )
    images = images.astype("float32")
    train = train_step(model, {"image": images})
    encode = compiled(model.encode, [model])
    decode = compiled(model.decode, [model])
    start = time.perf_counter()
    train()
    device_images = keras.ops.convert_to_tensor(images)
    codes = encode(device_images)
    wait(decode(codes))
    compile_s = time.perf_counter() - start
    train_s = median_seconds(train, repeats)
    encode_s = median_seconds(lambda: encode(device_images), repeats)
    decode_s = median_seconds(lambda: decode(codes), repeats)
    return {
        "image_size": image_size,
        "batch_size": batch_size,
        "train_step_s": train_s,
        "train_images_per_s": batch_size / train_s,
        "encode_images_per_s": batch_size / encode_s,
        "decode_images_per_s": batch_size / decode_s,
        "compile_s": compile_s,
        "peak_gib": peak_gib(),
    }
