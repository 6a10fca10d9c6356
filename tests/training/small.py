"""Small networks and their trainers, the same on every backend."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import array
from tests.helpers import integers
from tests.helpers import normal
from tests.helpers import one_shard
from vqvae2_tf.autoencoders import HRVQVAE
from vqvae2_tf.autoencoders import MSVQVAE
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.level import Level
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.priors import Transformer
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.plan import TrainingPlan

PRIORS = ("prior", "transformer", "maskgit")


def plan(rate=1e-3, steps=0):
    return TrainingPlan(
        steps=steps,
        batch_size=4,
        make_optimizer=lambda: keras.optimizers.Adam(rate, epsilon=1e-8),
        polyak_decay=0.9,
        seed=0,
        steps_per_call=2,
        validate_every=2,
    )


def examples(arrays, count=10):
    return Examples(
        one_shard(lambda: tf.data.Dataset.from_tensor_slices(arrays)),
        [count],
        lambda example, seed=None: example,
    )


def images(count=10):
    pixels = np.tanh(normal(count, 1, 1, 3))
    return {"image": np.broadcast_to(pixels, (count, 8, 8, 3)).copy()}


def codes(count=10):
    top, bottom = (integers(5, count, *size) for size in ((2, 3), (4, 6)))
    return {"codes": (top, bottom), "label": integers(3, count)}


def make_autoencoder(name, random):
    """Without random draws, it starts with a codebook."""
    two_levels = {"strides": (2, 2), "num_codes": 6}
    if name == "ms_vqvae":
        model_class, own = MSVQVAE, {**two_levels, "decoder_units": 6.0}
    elif name == "hr_vqvae":
        model_class, own = HRVQVAE, {"stride": 4, "num_codes": (3, 2, 2)}
    else:
        dropout = 0.5 if random else 0.0
        model_class, own = VQVAE2, {**two_levels, "level_dropout": dropout}
    model = model_class(
        hidden_units=8,
        residual_units=2,
        residual_layers=1,
        code_dim=3,
        dead_code_restart_steps=2 if random else 0,
        seed=0,
        **own,
    )
    model.build((None, 8, 8, 3))
    if not random:
        linked = name == "hr_vqvae"
        quantizers = model.quantizer.layers if linked else model.quantizers
        for i, quantizer in enumerate(quantizers):
            codebook = normal(quantizer.num_codes, 3, seed=i)
            quantizer.ema_sums.assign(codebook)
            quantizer.initialized.assign(
                np.ones(quantizer.initialized.shape, bool)
            )
    return model


def make_prior(name, random):
    top, bottom = Level("top", 2, 3, 5), Level("bottom", 4, 6, 5)
    model_class, own = Transformer, {}
    if name == "prior":
        model_class = PixelSNAIL
        own = {"attention_every": 1, "kernel_size": 3}
        own |= {"conditioning_blocks": 2, "conditioning_units": 4}
    elif name == "maskgit":
        model_class, own = MaskGIT, {"local_attention": True}
    model = model_class(
        bottom,
        [top],
        num_classes=3,
        hidden_units=8,
        residual_units=6,
        layers=1,
        heads=2,
        dropout=0.5 if random else 0.0,
        **own,
    )
    model.build()
    if name == "maskgit" and not random:
        # Each code is masked.
        model._training_mask = lambda codes: codes >= 0
    return model


def make_trainer(
    name, random=True, rate=1e-3, devices="auto", frozen=(), **changes
):
    """The trainer of an autoencoder or the prior.

    Args:
        name: `autoencoder`, `ms_vqvae`, `hr_vqvae`, or of `PRIORS`.
        random: Whether the network draws random numbers in training.
        rate: Learning rate.
        devices: As for `--strategy`, or `Devices`.
        frozen: Parts of the autoencoder that stay as they are.
        **changes: Further fields of the plan.
    """
    if isinstance(devices, str):
        devices = open_devices(devices)
    keras.utils.set_random_seed(0)
    with devices.scope():
        if name in PRIORS:
            model, arrays = make_prior(name, random), codes()
        else:
            model, arrays = make_autoencoder(name, random), images()
            model.freeze(frozen)
    training_plan = dataclasses.replace(plan(rate), **changes)
    trainer = devices.trainer(model, examples(arrays), training_plan)
    trainer.counters.update(lowest=np.inf, validated=0)
    return trainer


class Adversaries(keras.Model):
    """A generator `a x + b` and a critic `c x + d` of its outputs."""

    def __init__(self):
        super().__init__()
        self.generator = keras.layers.Dense(1, kernel_initializer="ones")
        self.critic = keras.layers.Dense(1, kernel_initializer="ones")

    def build(self, input_shape=None):
        self.generator.build((None, 1))
        self.critic.build((None, 1))

    def objectives(self):
        return {
            "generator": self.generator.trainable_variables,
            "critic": self.critic.trainable_variables,
        }

    def loss_and_statistics(self, batch, training=False):
        score = keras.ops.mean(self.critic(self.generator(batch["x"])))
        real = keras.ops.mean(self.critic(batch["y"]))
        losses = {"generator": -score, "critic": score - real}
        return losses, {"score": score}


def check_adversaries(trainer, model):
    """Two steps of SGD at 0.1, with x = 3 and y = 5, in plain numbers."""
    a, b, c, d = 1.0, 0.0, 1.0, 0.0
    for _ in range(2):
        loss, _ = trainer.run(1)
        assert loss == pytest.approx(-(c * 5 + d))
        # Both gradients are those before the step.
        a, b, c = a + 0.1 * 3 * c, b + 0.1 * c, c - 0.1 * (3 * a + b - 5)
        found = [array(v).item() for v in model.variables]
        np.testing.assert_allclose(found, [a, b, c, d], rtol=1e-6)
