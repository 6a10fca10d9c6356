"""Compiles a network's work for TPUs that are not there, and tells its sizes.

    python tools/compile_for_tpu.py train --flagfile=imagenet_top.flags \\
        --topology=v5e:4x4
    python tools/compile_for_tpu.py train --flagfile=ffhq_middle.flags \\
        --topology=v4 --smallest_slice

`train` compiles the training step of the JAX trainer, `sample` the drawing of
one level's codes and `encode` the encoding of images: of the prior of --level
with --stage=prior, else of the autoencoder. Takes the flags of `vqvae2 train`;
the batch is the flags', over the whole slice. Without --precision=float32 it
computes in bfloat16, as TPUs do.

Prints JSON, one row for each program that was compiled: whether it fits, GiB of
each device for its state (arguments that stay) and temporaries, their peak and
what the device has, FLOPs of a step on each device (those of a loop's body
count once), bytes of each kind of collective, and of `train` the chip-hours
that all steps take at 40 % of the chips' peak rate. With
--prior_accumulation_steps the parts of a batch are a loop, whose FLOPs and
collectives are those of one part; chip-hours are of all. A device is a core on
v2 and v3, which have two a chip, else a chip. Needs the extra `tpu-plan`,
16 GiB or so of memory for the largest networks, and minutes a program; what was
compiled is found in --cache again. Nothing was ever run: a program that fits
may still be slow.
"""

import os

# Else libtpu asks a metadata server for minutes, and two processes collide.
os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
os.environ.update(JAX_PLATFORMS="cpu", KERAS_BACKEND="jax")

from vqvae2_tf.commands import cli  # isort: skip

if __name__ == "__main__":
    cli.run_script(__file__)

import collections
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import re
import sys
import time

import jax
from jax.experimental import topologies

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import networks
from vqvae2_tf.sampling import sample
from vqvae2_tf.training import precision
from vqvae2_tf.training.batch_mesh import BatchMesh
from vqvae2_tf.training.jax import make_train_step
from vqvae2_tf.training.jax import with_values
from vqvae2_tf.training.plan import make_state

CACHE = os.path.expanduser("~/.cache/vqvae2_tf/tpu")
FLAGS = [
    Flag("topology", "v5e:2x2", "Kind and shape of the slice."),
    Flag("num_classes", 0, "Classes of the priors; 0 for none.", 0),
    Flag("smallest_slice", False, "Find the fewest chips that hold the batch."),
    Flag("find_batch", False, "Find the largest power of two that fits."),
    Flag("cache", CACHE, "Folder of the results.", path=True),
]
# Flags before the given ones, which win. Nothing is read or written.
ALWAYS = "--dataset=none --run_dir=none --precision=bfloat16"
# Slices that can be rented, in chips, from small to large.
_PLANES = ["1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"]
_CUBES = [
    *("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8"),
    "8x8x8",
]
SLICES = {
    "v2": ["1x1", "2x2", "4x4", "8x8", "16x16"],
    "v3": ["1x1", "2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32"],
    "v4": _CUBES,
    "v5e": _PLANES,
    "v5p": _CUBES,
    "v6e": _PLANES,
}
# Where libtpu's default is not JAX's: the two cores of a v4 are one device.
TOPOLOGY_OPTIONS = {"v4": {"chip_config_name": "megacore"}}
# GiB of a device.
MEMORY = {"v2": 8, "v3": 16, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
# Peak TFLOP/s of a chip in bfloat16, as Google gives them.
PEAK = {"v2": 45, "v3": 123, "v4": 275, "v5e": 197, "v5p": 459, "v6e": 918}
# What saves memory, at the price of time.
SAVING = "--prior_rematerialize"
# Raised where rows tell something else than before: old ones are not read.
_ROWS = 2
_GIB = 2**30
_UNITS = {"M": 2**-10, "G": 1, "T": 2**10}
_OUT_OF_MEMORY = re.compile(
    r"Used ([\d.]+)([MGT]) of ([\d.]+)G hbm|"
    r"\(([\d.]+)([MGT])\) exceeds available HBM \(([\d.]+)G\)"
)
_BITS = {"pred": 8, "bf16": 16}
_COLLECTIVE = re.compile(
    r"^.*? = (?P<shape>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|"
    r"all-to-all|collective-permute)(?P<start>-start)?\("
    r"(.*channel_id=(?P<channel>\d+))?",
    re.MULTILINE,
)
_ARRAY = re.compile(r"(pred|bf16|[fsu](\d+))\[([\d,]*)\]")


def collective_bytes(program: str) -> dict[str, int]:
    """Bytes of the results of a program's collectives, by their kind.

    Args:
        program: Text of the compiled program (HLO).
    """
    found, seen = collections.Counter(), set()
    for match in _COLLECTIVE.finditer(program):
        kind, channel = match["kind"], match["channel"]
        arrays = _ARRAY.findall(match["shape"])
        # libtpu writes one that runs beside fusions into each of them.
        own = channel, kind, tuple(arrays)
        if channel and own in seen:
            continue
        seen.add(own)
        if match["start"] and kind != "all-reduce":
            # The operands, the results, and what the device keeps.
            arrays = [array for array in arrays if array[2]]
            arrays = arrays[len(arrays) // 2 :]
        for name, bits, sizes in arrays:
            count = math.prod(int(n) for n in sizes.split(",") if n)
            found[kind] += count * int(bits or _BITS[name]) // 8
    return dict(found)


def memory_needed(message: str) -> tuple[float, float] | None:
    """GiB that a program needs, and what the device has, of a compiler's error.

    None if it tells of something else. Where the temporaries alone are too
    much, they are what is told.
    """
    found = _OUT_OF_MEMORY.search(message)
    if not found:
        return None
    number, unit, limit = filter(None, found.groups())
    return float(number) * _UNITS[unit], float(limit)


class Slice:
    """Devices that are not there.

    Args:
        topology: Such as `v5e:4x4`.

    Raises:
        UserError: If there is no such slice.
    """

    def __init__(self, topology: str):
        self.kind, _, self.shape = topology.partition(":")
        expected = (
            f"--topology={topology}: expected a kind ({', '.join(SLICES)}) and "
            "a shape, such as v5e:4x4 or v4:2x2x1"
        )
        if self.kind not in SLICES:
            raise UserError(f"{expected}.")
        options = dict(TOPOLOGY_OPTIONS.get(self.kind, {}))
        if set(self.shape.split("x")) == {"1"}:
            # Hosts have more chips by default, in libtpu 0.0.42.
            options["chips_per_host_bounds"] = [1, 1, 1]
        try:
            found = topologies.get_topology_desc(
                topology, platform="tpu", **options
            )
        except Exception as error:  # libtpu's own, of many types.
            raise UserError(f"{expected}: {one_line(error)}") from error
        self.devices = len(found.devices)
        self.mesh = BatchMesh(found.devices)

    def batch(self, shape, dtype):
        """An array whose first axis is split over the devices."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.mesh.split)


class Work:
    """What is compiled: a job of a network, which is made without its weights.

    Args:
        job: `train`, `sample` or `encode`.
        config: `Configuration`.
    """

    def __init__(self, job, config):
        self.job = job
        self._config = config
        self._index = None
        if config.stage == "prior":
            self._index = config.level_names.index(config.level)
        elif job == "sample":
            raise UserError("sample needs --stage=prior and --level.")
        if job == "encode" and self._index is not None:
            raise UserError("encode needs another --stage than prior.")
        self._shapes = jax.eval_shape(self._make)

    def _make(self):
        """Makes the network, inside a trace: its weights have only shapes."""
        config = self._config
        dtype = precision.dtype_policy(config.precision)
        if self._index is None:
            self.model = networks.make_autoencoder(config, dtype)
        else:
            classes = config.num_classes
            self.model = networks.make_prior(
                config, self._index, classes, dtype
            )
        if self.job == "train":
            plan = networks.training_plan(config, self.model, self._index)
            self._plan = plan
            self._optimizers, self._averages, state = make_state(
                self.model, plan
            )
        else:
            state = {"model": self.model.variables}
        self._state = state
        self._variables = [v for part in state.values() for v in part]
        return [variable.value for variable in self._variables]

    @property
    def batch_size(self) -> int:
        """The batch of the flags, over all devices."""
        config = self._config
        if self._index is None:
            return config.batch_size
        return config.prior_batch_size[self._index]

    @property
    def parts(self) -> int:
        """Parts of a device's batch, one after another."""
        return self._plan.accumulation_steps if self.job == "train" else 1

    @property
    def in_parts(self) -> str:
        """Words of a message; empty for a batch in one piece."""
        if self.parts == 1:
            return ""
        return f" in --prior_accumulation_steps={self.parts}"

    def with_chip_hours(self, row: dict) -> dict:
        """A row, with those of the whole training at 40 % of the peak rate."""
        if self.job != "train" or not row["fits"]:
            return row
        # Those of one part of a batch, as the parts are a loop.
        flops = row["flops"] * row["devices"] * self._plan.steps * self.parts
        rate = 0.4 * PEAK[row["topology"].partition(":")[0]] * 1e12
        return {**row, "chip_hours": flops / rate / 3600}

    def lower(self, devices: Slice, batch_size: int) -> jax.stages.Lowered:
        """The program for a slice, not yet compiled."""
        shard = self._config.shard_state
        shardings = devices.mesh.of_state(self._state, shard)
        values = [
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
            for x, sharding in zip(self._shapes, shardings, strict=True)
        ]
        batch = self._batch(devices, batch_size)
        if self.job == "train":
            step = make_train_step(
                self.model,
                self._optimizers,
                self._averages,
                self._variables,
                self._plan.accumulation_steps,
            )
            compiled = jax.jit(
                step,
                donate_argnums=0,
                out_shardings=(shardings, devices.mesh.whole),
            )
            return compiled.lower(values, batch)

        def run(values, batch):
            with with_values(self._variables, values):
                if self.job == "encode":
                    return self.model.encode(batch["image"])
                given = {"sample_ids": batch["sample_ids"]}
                given["coarser"] = batch["codes"][: self._index]
                if self.model.num_classes:
                    given["labels"] = batch["label"]
                return sample(self.model, **given)

        return jax.jit(run).lower(values, batch)

    def _batch(self, devices, batch_size):
        config = self._config
        if self._index is None:
            shape = (batch_size, *config.image_size, config.channels)
            return {"image": devices.batch(shape, "float32")}
        return {
            "codes": tuple(
                devices.batch((batch_size, *level.shape), level.dtype)
                for level in config.levels[: self._index + 1]
            ),
            "label": devices.batch((batch_size,), "int32"),
            "sample_ids": devices.batch((batch_size,), "int32"),
        }


def compile_row(work: Work, topology: str, batch_size: int, cache: str) -> dict:
    """A row of what a program takes; see the module.

    Args:
        work: What is compiled.
        topology: Such as `v5e:4x4`.
        batch_size: Over all devices, which share it equally.
        cache: Folder of the results.
    """
    devices = Slice(topology)
    if batch_size % (devices.devices * work.parts):
        raise UserError(
            f"--topology={topology} has {devices.devices} devices, which "
            f"cannot share a batch of {batch_size}{work.in_parts} equally."
        )
    lowered = work.lower(devices, batch_size)
    versions = {
        name: importlib.metadata.version(name)
        for name in ("jax", "libtpu", "keras")
    }
    described = json.dumps([_ROWS, topology, versions, lowered.as_text()])
    fingerprint = hashlib.sha256(described.encode()).hexdigest()[:16]
    path = os.path.join(cache, f"{fingerprint}.json")
    if os.path.exists(path):
        row = atomic.read_json(path, "remove it to compile again")
        return work.with_chip_hours(row)
    start = time.perf_counter()
    row = {
        "job": work.job,
        "network": work.model.name,
        "parameters": work.model.count_params(),
        "topology": topology,
        "devices": devices.devices,
        "batch_size": batch_size,
        "accumulation_steps": work.parts,
        "device_gib": MEMORY[devices.kind],
    }
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = memory_needed(str(error))
        if not needed:
            raise
        row |= {"fits": False, "peak_gib": needed[0], "device_gib": needed[1]}
    else:
        memory = compiled.memory_analysis()
        new = memory.output_size_in_bytes - memory.alias_size_in_bytes
        state = memory.argument_size_in_bytes
        temporary = memory.temp_size_in_bytes + new
        program = memory.generated_code_size_in_bytes
        row |= {
            "fits": True,
            "state_gib": state / _GIB,
            "temporary_gib": temporary / _GIB,
            "peak_gib": (state + temporary + program) / _GIB,
            "flops": compiled.cost_analysis()["flops"],
            "collective_bytes": _collective_bytes(compiled),
        }
    row |= {"compile_s": time.perf_counter() - start, **versions}
    os.makedirs(cache, exist_ok=True)
    atomic.write_json(path, row)
    return work.with_chip_hours(row)


def _collective_bytes(compiled):
    """Those of a compiled program, or None if jaxlib cannot read it.

    jaxlib 0.10.2 knows less of asynchronous instructions than the libtpu that
    writes them for v5p and v6e.
    """
    try:
        return collective_bytes(compiled.as_text())
    except jax.errors.JaxRuntimeError:
        return None


def first_that_fits(candidates, row_of, rows):
    """The first of candidates, from small to large, whose program fits.

    By bisection: what is larger fits too.

    Args:
        candidates: A list.
        row_of: Function of a candidate to its row.
        rows: List that each row is added to.
    """
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        row = row_of(candidates[middle])
        rows.append(row)
        low, high = (low, middle) if row["fits"] else (middle + 1, high)
    return candidates[low] if low < len(candidates) else None


def chips(shape: str) -> int:
    """Chips of a slice's shape."""
    return math.prod(map(int, shape.split("x")))


def main(arguments):
    """Prints the rows of a job."""
    jobs = ("train", "sample", "encode")
    job, *arguments = arguments or [""]
    if job not in jobs:
        sys.exit(f"{__doc__}\nerror: expected one of {', '.join(jobs)} first.")
    if not importlib.util.find_spec("libtpu"):
        raise UserError(
            "compilation for TPUs needs libtpu; install it with "
            "pip install -e '.[tpu-plan]'."
        )
    # libtpu ends the process at flags that only other devices' XLA knows.
    os.environ.pop("XLA_FLAGS", None)
    line = [*ALWAYS.split(), *arguments]
    config = configuration.parse(line, __doc__, FLAGS)
    work = Work(job, config)
    kind = config.topology.partition(":")[0]
    size, rows = work.batch_size, []
    if config.smallest_slice:
        shapes = SLICES.get(kind, [])
        slices = [
            s for s in shapes if size % (_devices(kind, s) * work.parts) == 0
        ]
        if not slices:
            raise UserError(
                f"--topology={config.topology}: no slice of this kind shares a "
                f"batch of {size}{work.in_parts}; expected one of "
                f"{', '.join(SLICES)}."
            )
        found = first_that_fits(
            slices,
            lambda s: compile_row(work, f"{kind}:{s}", size, config.cache),
            rows,
        )
        answer = {"smallest_slice": found and f"{kind}:{found}"}
    elif config.find_batch:
        count = Slice(config.topology).devices
        sizes = [count * work.parts * 2**i for i in range(21)]
        largest = first_that_fits(
            sizes[::-1],
            lambda n: compile_row(work, config.topology, n, config.cache),
            rows,
        )
        answer = {"largest_batch": largest}
    else:
        row = compile_row(work, config.topology, size, config.cache)
        rows.append(row)
        answer = {}
        other = configuration.parse([*line, SAVING], __doc__, FLAGS)
        if not row["fits"] and config.stage == "prior" and other != config:
            work = Work(job, other)
            row = compile_row(work, config.topology, size, config.cache)
            rows.append({"with": SAVING, **row})
    print(json.dumps({**answer, "rows": rows}, indent=2))


def _devices(kind, shape):
    return chips(shape) * (2 if kind in ("v2", "v3") else 1)
