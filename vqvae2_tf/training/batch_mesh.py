"""Shardings of batches and of training states over JAX's devices."""

from collections.abc import Mapping
from collections.abc import Sequence

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec


class BatchMesh:
    """Shardings over a row of devices that share each batch.

    Attributes:
        whole: Of arrays that every device has.
        split: Of arrays whose first axis the devices share.

    Args:
        devices: JAX devices.
    """

    def __init__(self, devices: Sequence):
        self._mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
        self.whole = NamedSharding(self._mesh, PartitionSpec())
        self.split = NamedSharding(self._mesh, PartitionSpec("batch"))

    def shared(self, shape: Sequence[int]) -> NamedSharding:
        """The sharding of an array of which each device keeps an equal part.

        It is cut along its longest axis that allows it; if none does, the
        array is whole on every device.
        """
        count = self._mesh.size
        sizes = [0 if size % count else size for size in shape]
        if not any(sizes):
            return self.whole
        axis = sizes.index(max(sizes))
        return NamedSharding(self._mesh, PartitionSpec(*[None] * axis, "batch"))

    def of_state(
        self, state: Mapping[str, Sequence[keras.Variable]], shard: bool
    ) -> list[NamedSharding]:
        """The sharding of each variable of a training state.

        Args:
            state: As `make_state` gives it.
            shard: Whether what only training needs is shared: the averages and
                what the optimizers keep. The model is whole on every device.
        """
        return [
            self.shared(variable.shape)
            if shard and part != "model"
            else self.whole
            for part, variables in state.items()
            for variable in variables
        ]
