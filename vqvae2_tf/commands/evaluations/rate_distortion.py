"""Bits of the first levels' codes, and how far their images are off.

    vqvae2 evaluate rate_distortion --run_dir=runs/emoji --output=CURVE

A point for each number of levels that are decoded, coarsest first, the others
left out as by `vqvae2 reconstruct --levels`: MSE on the [0, 1] scale, pooled
PSNR and SSIM of the run's held-out images, and with --network=lite0, or another
one of `vqvae2 evaluate features`, the Fréchet distance of these reconstructions
to the originals, and its floor, that of one half of the originals to the other.
`code_bits` are the bits an image if all codes are equally likely; `nll_bits`
those of the held-out codes under the run's priors. A prior without a
likelihood, such as MaskGIT, whose bound is not one, has none, and nor have the
finer levels then. Writes CURVE/rate_distortion.csv and
CURVE/rate_distortion.png; --results adds the points to a file, a line of JSON
each.
"""

import csv
import importlib.metadata
import io
import os

import numpy as np
from tqdm import tqdm

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations.curve import open_pyplot
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.reconstruction_error import ReconstructionError
from vqvae2_tf.export import load
from vqvae2_tf.files import atomic
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import inputs
from vqvae2_tf.runs.feature_networks import open_network
from vqvae2_tf.runs.results import prior_bits

FLAGS = [
    common.RUN_DIR,
    Flag("data_dir", None, "Folder of prepared data sets.", path=True),
    Flag("count", 0, "Held-out images, the first ones; 0 for all.", 0),
    Flag("batch_size", 32, "Images at once.", 1),
    Flag("network", None, "inception, vgg16, lite0 or a path."),
    Flag("weights", None, "File of the network's weights.", path=True),
    Flag("results", None, "File that results are added to.", path=True),
    common.output("Folder for rate_distortion.csv and .png."),
]
MEMORY_ADVICE = common.MEMORY_ADVICE
BITS = ("code_bits", "nll_bits")


def measure(images, reconstructs, network, batch_size) -> list[dict]:
    """Distortions of each of several reconstructions, as columns.

    Args:
        images: `inputs.Images`.
        reconstructs: Functions of images `[B, H, W, 3]` uint8 to others.
        network: Feature network, or None.
        batch_size: Images at once.
    """
    errors = [ReconstructionError() for _ in reconstructs]
    restored = [Gaussian() for _ in reconstructs]
    halves = Gaussian(), Gaussian()
    is_second = np.random.RandomState(0).permutation(images.count) % 2
    for first in tqdm(range(0, images.count, batch_size), unit="batch"):
        count = min(batch_size, images.count - first)
        pixels, _ = images.read(first, count)
        # Filled up: a batch of another size is compiled again.
        fill = np.resize(np.arange(count), batch_size)
        if network:
            found = network(pixels[fill])["features"][:count]
            chosen = is_second[first : first + count]
            for number, half in enumerate(halves):
                half.update(found[chosen == number])
        pairs = zip(reconstructs, errors, restored, strict=True)
        for reconstruct, error, gaussian in pairs:
            others = reconstruct(pixels[fill])
            error.add(pixels, others[:count])
            if network:
                gaussian.update(network(others)["features"][:count])
    columns = [
        {name: value for name, (value, _) in error.results().items()}
        for error in errors
    ]
    if network:
        name = results.frechet_name(network.card())
        floor = halves[0].distance_to(halves[1])
        originals = Gaussian()
        for half in halves:
            originals.merge(half)
        for own, gaussian in zip(columns, restored, strict=True):
            own[f"r{name}"] = gaussian.distance_to(originals)
            own |= {f"{name}_floor": floor, "floor_n": halves[1].count}
    return columns


def rows_of(points, reference, more) -> list[dict]:
    """Points as rows, a distance's name with the split of its reference."""
    rates = ("levels", *BITS, "n")
    split = results.split_of({"input": reference})
    rows = []
    for point in points:
        own = {rate: point[rate] for rate in rates}
        for name, value in point.items():
            if name in (*rates, "floor_n"):
                continue
            if name.startswith("rf"):
                name += split
            elif name.endswith("_floor"):
                name, own = name + split, own | {"n": point["floor_n"]}
            rows.append({"name": name, "value": value} | own | more)
    return rows


def draw(figure, points) -> None:
    """Draws each distortion against both kinds of bits, a panel each."""
    names = [n for n in points[0] if n in ("psnr", "ssim") or n[:2] == "rf"]
    figure.set_size_inches(5 * len(names), 4)
    for i, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), i + 1)
        for bits in BITS:
            own = [p for p in points if p[bits] is not None]
            if own:
                x, y = [p[bits] for p in own], [p[name] for p in own]
                axes.plot(x, y, "o-", label=bits)
        for point in points:
            place = point["code_bits"], point[name]
            axes.annotate(
                point["levels"],
                place,
                (4, 4),
                textcoords="offset points",
                size=7,
            )
        floor = points[0].get(f"{name[1:]}_floor")
        if floor is not None:
            text = f"floor, n={points[0]['floor_n']:,}"
            axes.axhline(floor, color="grey", linestyle=":", label=text)
        axes.set_xlabel("bits an image")
        axes.set_ylabel(name)
        axes.margins(0.3, 0.1)
        axes.legend()
    figure.tight_layout()


def main(arguments):
    """Measures the points, writes them and draws them."""
    options = common.parse(FLAGS, arguments, __doc__)
    figure = open_pyplot("rate_distortion")()
    config = folder.read_config(options.run_dir)
    model = load.Autoencoder(load.find("autoencoder", options.run_dir, None))
    network = None
    if options.network:
        network = open_network(options.network, options.weights)
    text = f"run:{options.run_dir}@validation"
    images = inputs.open_input(
        text,
        tuple(model.image_size),
        model.channels,
        options.count or None,
        options.data_dir,
        "run_dir",
    )
    # Two of each half of the floor.
    if network and images.count < 4:
        raise UserError(
            "--network: expected at least 4 held-out images, to measure a "
            f"distance. Received: {images.count}"
        )
    atomic.check_writable("output", options.output)
    if options.results:
        atomic.check_file_writable("results", options.results)
    names = list(model.levels)
    first_levels = [names[: i + 1] for i in range(len(names))]
    columns = measure(
        images,
        [inputs.reconstruction(model, some) for some in first_levels],
        network,
        options.batch_size,
    )
    nll_bits = prior_bits(config)
    points = []
    for some, own in zip(first_levels, columns, strict=True):
        known = [nll_bits[name] for name in some]
        points.append(
            {
                "levels": "+".join(some),
                "code_bits": sum(model.levels[name].bits for name in some),
                "nll_bits": None if None in known else sum(known),
                "n": images.count,
                **own,
            }
        )
    if points[-1]["nll_bits"] is None:
        print(
            "nll_bits need priors with a likelihood, which not all levels have."
        )
    table = io.StringIO()
    writer = csv.DictWriter(table, points[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    path = os.path.join(options.output, "rate_distortion")
    atomic.write_text(f"{path}.csv", table.getvalue())
    draw(figure, points)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    atomic.write_bytes(f"{path}.png", picture.getvalue())
    print(results.as_table(points, points[0]))
    if options.results:
        more = {
            **(network.card() if network else {}),
            "input": text,
            "reference": text,
            "autoencoder": model.fingerprint,
            "version": importlib.metadata.version("vqvae2_tf"),
        }
        results.append(options.results, rows_of(points, text, more))
