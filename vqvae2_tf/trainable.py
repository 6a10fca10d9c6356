"""What the training loop asks of a network."""

import inspect

import keras

from vqvae2_tf.level import Level


class Trainable(keras.Model):
    """A network that `training.loop.fit` trains.

    Subclasses are registered with Keras, and saved with the arguments of their
    constructors: neither a decorator nor a `get_config` is needed.

    Attributes:
        selection_metric: Name of the metric that chooses the best weights;
            lower is better.
        FLAGS: `flags.Flag`s of constructor arguments, one flag an argument;
            values out of a flag's range raise `ValueError`.
    """

    selection_metric: str
    FLAGS = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable(cls.__module__)(cls)

    def __new__(cls, *args, **kwargs):
        network = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(None, *args)
        arguments = {**dict(list(bound.arguments.items())[1:]), **kwargs}
        for flag in cls.FLAGS:
            value = arguments.get(flag.name, flag.default)
            for item in value if flag.many else [value]:
                flag.check(item)
        object.__setattr__(network, "_arguments", arguments)
        return network

    def get_config(self):
        # Keras' own come last: its dtype is plain, the argument may not be.
        own = {name: _plain(value) for name, value in self._arguments.items()}
        return {**own, **super().get_config()}

    def loss_and_statistics(self, batch, training=False):
        """Training loss of a batch, and sums that metrics are made of.

        Args:
            batch: dict of tensors; `weight` `[B]` float32 is 0 for padding.
            training: Whether dropout, codebooks and batch statistics are
                active.

        Returns:
            Tuple of the loss (float32 scalar, the batch's mean; or a dict of
            one a name of `objectives`) and a dict of tensors that may be added
            over batches and replicas.
        """
        raise NotImplementedError

    def metrics_from_statistics(self, statistics):
        """Metrics of everything the statistics were added over.

        Args:
            statistics: Sums of `loss_and_statistics`, as NumPy arrays.

        Returns:
            dict of floats, `selection_metric` among them.
        """
        raise NotImplementedError

    def objectives(self):
        """The variables that each loss trains, by the loss's name."""
        return {"loss": self.trainable_variables}

    def images_to_show(self, batch):
        """Images worth a look during training, for TensorBoard.

        Args:
            batch: As for `loss_and_statistics`.

        Returns:
            dict of `[B, H, W, C]` float32 in [-1, 1].
        """
        return {}


def _plain(value):
    """A nest of arguments with levels as dicts, for a JSON config."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.to_json() if isinstance(value, Level) else value
