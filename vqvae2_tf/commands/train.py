"""Trains an autoencoder and its priors, samples and exports.

    vqvae2 train --flagfile=emoji.flags
    python experiments/train.py --flagfile=emoji.flags

A flagfile is looked for in the working directory, then in experiments/. Stopped
and started again, the command resumes where it was.
"""

import time

from vqvae2_tf.commands import console
from vqvae2_tf.files import atomic
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import networks
from vqvae2_tf.runs import pipeline
from vqvae2_tf.runs import samples
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.precision import choose_precision

MEMORY_ADVICE = (
    "give --prior_accumulation_steps or --prior_rematerialize for a prior, or "
    "a smaller --batch_size and another --run_dir"
)


def main(arguments):
    """Runs all stages, or the one of --stage."""
    config = configuration.parse(arguments, __doc__)
    folder.check_place("run_dir", config.run_dir, config.dataset)
    devices = None
    if config.strategy == "multi_worker" and not config.dry_run:
        # Hosts meet before they use their devices.
        devices = open_devices(config.strategy, config.tpu)
    source, classes = None, []
    if not config.needs_images:
        classes = pipeline.read_codes(config)[1]["class_names"]
    elif config.stage != "prior" or config.dry_run:
        source = pipeline.open_images(config)
        config = config.replace(data_version=source.builder.info.full_name)
        classes = source.class_names
    classes = classes if config.class_conditional else []
    if source or not config.needs_images:
        samples.find_labels("sample_classes", config.sample_classes, classes)
    # Even if nobody reads it, as no network should fail when others are done.
    counts = networks.parameter_counts(config, len(classes))
    if config.dry_run:
        print(_found(config, source))
        print(config.to_json())
        for name, count in counts.items():
            print(f"{name}: {count:,} parameters")
        print(_describe_size(config))
        return
    devices = devices or open_devices(config.strategy, config.tpu)
    earlier = None
    if not config.overwrite:
        earlier = folder.earlier_precision(config.run_dir)
    precision, reason = choose_precision(
        config.precision, earlier, devices.accelerator
    )
    config = config.replace(precision=precision)
    folder.check(config)
    run = pipeline.Run(config, devices, source)
    run.check()
    with devices.loss_reported(), console.only_on_the_chief():
        # Nothing is written before all hosts have checked.
        devices.barrier()
        _carry_out(run, source, f"precision: {precision}, {reason}")


def _found(config, source):
    """What was found to train on."""
    return source.describe() if source else pipeline.describe_codes(config)


def _describe_size(config):
    """How many bits the codes of an image are, and how many the image was."""
    bits = sum(level.bits for level in config.levels)
    if not config.needs_images:
        return f"codes: {bits:,.0f} bits an image"
    height, width = config.image_size
    pixels = 8 * height * width * config.channels
    return (
        f"codes: {bits:,.0f} bits an image, {pixels / bits:.1f} times fewer "
        f"than the {pixels:,} of its pixels"
    )


def _carry_out(run, source, precision):
    found = _found(run.config, source)
    print(found, flush=True)
    if source:
        # Those that share the chief's prepared data do not write them.
        if atomic.is_chief:
            source.prepare()
        run.devices.barrier()
        if not atomic.is_chief:
            source.prepare()
        if source.describe() != found:
            print(source.describe(), flush=True)
        size, count = run.config.batch_size, source.num_examples("train")
        if size > count:
            print(f"--batch_size={size}: every batch repeats some of {count:,}")
    print(precision, flush=True)
    if atomic.is_chief:
        folder.claim(run.config)
        console.keep_log(run.path(folder.LOG_FILE))
    run.devices.barrier()
    if not atomic.is_chief:
        # That the flags are the chief's.
        folder.check(run.config.replace(overwrite=False))
    start = time.monotonic()
    try:
        run.run()
    except TrainingStoppedError as error:
        if not run.config.overwrite:
            raise
        raise TrainingStoppedError(
            f"{error} Leave out --overwrite then, or all begins anew."
        ) from error
    print(f"{run.path()}: done in {time.monotonic() - start:.0f} s")
