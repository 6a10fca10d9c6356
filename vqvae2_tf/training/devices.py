"""The devices of a run, on the backend that Keras has."""

import contextlib
from collections.abc import Callable
from typing import Any
from typing import Protocol

import keras
import numpy as np

from vqvae2_tf.errors import UserError
from vqvae2_tf.training.loop import Examples
from vqvae2_tf.training.loop import Trainer
from vqvae2_tf.training.plan import TrainingPlan


class Devices(Protocol):
    """Where networks are made, trained and measured.

    Several hosts carry out the same calls in the same order, each on its part
    of every batch. One of them, the chief, writes the files
    (`files.atomic.is_chief`) and does by itself what is not shared.

    Attributes:
        count: Number of devices that share each batch, over all hosts.
        share: This host's number, from 0, and the number of hosts.
        local: The `Devices` of this host alone, for what a host does by itself.
        accelerator: `("GPU" or "TPU", whether it multiplies in bfloat16)`; None
            on CPUs.
    """

    count: int
    share: tuple[int, int]
    accelerator: tuple[str, bool] | None
    local: "Devices"

    def on_any_host(self, is_so: bool) -> bool:
        """Whether something is so on any host, the same answer on all."""

    def barrier(self) -> None:
        """Waits until every host has come here."""

    def loss_reported(self) -> contextlib.AbstractContextManager:
        """Turns the loss of another host into a `UserError` that names it."""

    def scope(self) -> contextlib.AbstractContextManager:
        """Where networks are made and loaded."""

    def trainer(
        self, model: keras.Model, examples: Examples, plan: TrainingPlan
    ) -> Trainer:
        """The trainer of a network that was made in `scope`."""

    def evaluation(
        self, model: keras.Model
    ) -> Callable[[Examples, int], dict[str, np.ndarray]]:
        """Compiles a pass over examples, with the weights in the model.

        Args:
            model: See `Trainable`.

        Returns:
            Function of `Examples` and a batch size over all devices to the sums
            of the model's statistics, as NumPy arrays.
        """

    def encoding(self, model: keras.Model) -> Callable[[Callable], Any]:
        """Compiles the encoding of images.

        Args:
            model: `Autoencoder`.

        Returns:
            Function that takes a function of an `InputContext` or None to a
            `tf.data.Dataset` of batches with `image`, and gives an iterator
            over the images' codes and the rest of each batch, as NumPy arrays.
        """

    def sampling(
        self, model: keras.Model, draw: Callable[[Any], Any]
    ) -> Callable[[Any], np.ndarray]:
        """Compiles the drawing of code maps, with the weights in the model.

        Args:
            model: `Prior`.
            draw: Function of a nest of arrays to code maps of `model`.

        Returns:
            `draw` of NumPy arrays, which are the same on all hosts, to a NumPy
            array. It is compiled at the first call, and all hosts call it;
            devices do not share the work.
        """


def open_devices(strategy: str, tpu: str | None = None) -> Devices:
    """Finds the devices that `--strategy` and `--tpu` name.

    Args:
        strategy: As for `make_strategy` on TensorFlow, and for `JaxDevices` on
            JAX.
        tpu: As for `make_strategy`, on TensorFlow alone.

    Raises:
        UserError: If there are no such devices, or Keras has a backend that
            does not train.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from vqvae2_tf.training.strategy import make_strategy
        from vqvae2_tf.training.tensorflow import TensorFlowDevices

        return TensorFlowDevices(make_strategy(strategy, tpu))
    if backend == "jax":
        if tpu:
            raise UserError(
                f"--tpu={tpu} is for TensorFlow; JAX finds this machine's TPU "
                "by itself."
            )
        from vqvae2_tf.training.jax import JaxDevices

        return JaxDevices(strategy)
    raise UserError(
        f"KERAS_BACKEND={backend}: networks are trained and measured with "
        "tensorflow or jax only; set the variable to one of them, or unset it."
    )
