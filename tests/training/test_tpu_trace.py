"""The training step under TPUStrategy, traced for eight cores, never run.

TPUStrategy builds its graph without a TPU once it is told of one. What XLA
cannot compile is found by lowering the same step for this processor: the
operations that XLA knows are the same for both, but for a few.
"""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tpu import tpu_system_metadata

from tests.helpers import SMALL_PRIOR
from tests.helpers import SMALL_TRANSFORMER
from tests.helpers import codes_of
from vqvae2_tf.autoencoders import HRVQVAE
from vqvae2_tf.autoencoders import MSVQVAE
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.level import Level
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.priors import Transformer
from vqvae2_tf.training.averages import Averages
from vqvae2_tf.training.tensorflow import make_replica_step

CORES = 8
LEVELS = [Level("top", 2, 3, 5), Level("bottom", 4, 6, 7)]


class NoTPU(tf.distribute.cluster_resolver.TPUClusterResolver):
    """Tells TPUStrategy of eight cores that are not there."""

    def __init__(self):
        super().__init__(tpu="local")

    def get_tpu_system_metadata(self):
        device = collections.namedtuple(
            "Device", "name device_type memory_limit_bytes incarnation"
        )
        host = "/job:localhost/replica:0/task:0/device:"
        cores = [(f"{host}TPU:{i}", "TPU", 0, 0) for i in range(CORES)]
        devices = [device(*x) for x in [*cores, (f"{host}CPU:0", "CPU", 0, 0)]]
        return tpu_system_metadata.TPUSystemMetadata(
            num_cores=CORES,
            num_hosts=1,
            num_of_cores_per_host=CORES,
            topology=None,
            devices=devices,
        )


@pytest.fixture(scope="module")
def tpu_strategy():
    return tf.distribute.TPUStrategy(NoTPU())


def autoencoder(model_class, **own):
    model = model_class(
        hidden_units=4,
        residual_units=2,
        residual_layers=1,
        code_dim=3,
        dead_code_restart_steps=2,
        seed=0,
        **own,
    )
    model.build((None, 8, 12, 3))
    return model


TWO_LEVELS = {"strides": (2, 2), "num_codes": 6}


def prior(index, network=PixelSNAIL, small=SMALL_PRIOR):
    model = network(
        LEVELS[index],
        LEVELS[:index],
        num_classes=3,
        **{**small, "dropout": 0.1, "label_dropout": 0.1},
    )
    model.build()
    return model


NETWORKS = {
    "autoencoder": lambda: autoencoder(
        VQVAE2, level_dropout=0.1, level_dropout_steps=10, **TWO_LEVELS
    ),
    "ms_vqvae": lambda: autoencoder(MSVQVAE, decoder_units=4.0, **TWO_LEVELS),
    "hr_vqvae": lambda: autoencoder(HRVQVAE, stride=4, num_codes=(4, 2, 3)),
    "top prior": lambda: prior(0),
    "bottom prior": lambda: prior(1),
    "transformer": lambda: prior(1, Transformer, SMALL_TRANSFORMER),
    "maskgit": lambda: prior(
        1, MaskGIT, {**SMALL_TRANSFORMER, "local_attention": True}
    ),
}


def batch(model):
    if isinstance(model, Autoencoder):
        return {"image": np.zeros((2, 8, 12, 3), "float32")}
    codes = tuple(codes_of(level, 2) for level in LEVELS)
    return {"codes": codes, "label": np.zeros(2, "int32")}


def make_step(make_model, strategy):
    """A step and its batch, made in the strategy's scope."""
    with strategy.scope():
        model = make_model()
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_variables)
        averages = Averages(model.trainable_variables, 0.9)
    optimizers = {"loss": optimizer}
    step = make_replica_step(model, optimizers, averages, strategy)
    return step, tf.nest.map_structure(tf.constant, batch(model))


def inside_conditions(operations):
    """The operations of all branches of conditions, at any depth."""
    for operation in operations:
        if operation.type in ("If", "StatelessIf"):
            for name in ("then_branch", "else_branch"):
                function = operation.get_attr(name).name
                branch = operation.graph._get_function(function).graph
                inside = branch.get_operations()
                yield from [*inside, *inside_conditions(inside)]


def trace(make_model, strategy):
    """The operations of a step on all cores: in each step, and in some.

    Raises:
        ValueError: If one has what TPUs lack: a string, or a shape that is not
            known before it runs.
    """
    with tf.Graph().as_default() as graph:
        step, inputs = make_step(make_model, strategy)
        before = set(graph.get_operations())
        strategy.run(step, args=(inputs,))
    operations = [o for o in graph.get_operations() if o not in before]
    # TPUStrategy's own, which reports whether the cores' program compiled.
    operations = [o for o in operations if o.type != "TPUCompilationResult"]
    inside = list(inside_conditions(operations))
    for operation in [*operations, *inside]:
        for output in operation.outputs:
            if output.dtype == tf.string:
                raise ValueError(f"string: {operation.name}")
            if not output.shape.is_fully_defined():
                raise ValueError(f"dynamic shape: {operation.name}")
    return operations, inside


def lower(make_model):
    """Translates a step to XLA's language, without compiling it."""
    step, inputs = make_step(make_model, tf.distribute.get_strategy())
    compiled = tf.function(step, jit_compile=True)
    return compiled.experimental_get_compiler_ir(inputs)(stage="hlo")


@pytest.mark.parametrize(
    "name",
    [
        *("autoencoder", "top prior"),
        pytest.param("ms_vqvae", marks=pytest.mark.large),
        pytest.param("hr_vqvae", marks=pytest.mark.large),
        pytest.param("bottom prior", marks=pytest.mark.large),
        pytest.param("transformer", marks=pytest.mark.large),
        pytest.param("maskgit", marks=pytest.mark.large),
    ],
)
def test_a_step_has_only_what_tpus_have(name, tpu_strategy):
    always, sometimes = (
        [o.outputs[0].shape for o in found if o.type == "CrossReplicaSum"]
        for found in trace(NETWORKS[name], tpu_strategy)
    )
    assert always
    if name in ("autoencoder", "ms_vqvae"):
        # More than the gradients': the codebooks' statistics.
        assert len(always) > len(NETWORKS[name]().trainable_variables)
        # A level's sums in each step, and its candidates only where it starts
        # and where a code is replaced.
        assert always.count((6, 3)) == 2
        assert sometimes == [(6, 3)] * 4
    if name == "hr_vqvae":
        # Each layer's sums in each step; its candidates, and where its
        # parents' vectors are, only where it draws.
        for i, size in enumerate((4, 8, 24)):
            assert always.count((size, 3)) == 1
            assert sometimes.count((size, 3)) == 2
            parents = (CORES, size // (4, 2, 3)[i])
            assert sometimes.count(parents) == (2 if i else 0)
    assert "HloModule" in lower(NETWORKS[name])


class Spoiled(VQVAE2):
    """An autoencoder with something more in its loss."""

    def loss_and_statistics(self, batch, training=False):
        loss, statistics = super().loss_and_statistics(batch, training)
        return loss + self.spoil(loss, batch["image"]), statistics


class OfText(Spoiled):
    def spoil(self, loss, image):
        text = tf.strings.as_string(loss)
        return tf.strings.to_number(text)


class OfChosenPixels(Spoiled):
    def spoil(self, loss, image):
        return tf.reduce_sum(tf.boolean_mask(image, image > 0.0))


class OfPython(Spoiled):
    def spoil(self, loss, image):
        found = tf.numpy_function(np.float32, [loss], tf.float32)
        return tf.ensure_shape(found, ())


def spoiled(kind):
    model = kind(strides=(2,), hidden_units=4, residual_units=2, num_codes=6)
    model.build((None, 8, 12, 3))
    return model


@pytest.mark.parametrize(
    ("kind", "message"),
    [(OfText, "string"), (OfChosenPixels, "dynamic shape")],
)
def test_what_tpus_lack_is_found(kind, message, tpu_strategy):
    with pytest.raises(ValueError, match=message):
        trace(lambda: spoiled(kind), tpu_strategy)


def test_an_operation_that_tpus_lack_is_found():
    with pytest.raises(ValueError, match="unsupported operations.*PyFunc"):
        lower(lambda: spoiled(OfPython))
