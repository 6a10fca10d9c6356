"""Decodes damaged image files, which must give an image or a known error.

    python tools/fuzz_images.py --count=20000 --seed=0 --output=escaped

Makes small images of every mode in every format that Pillow writes, and damages
each file: cuts it, flips, repeats, removes and clears bytes, changes sizes in
headers, swaps headers. `decode_image` has to return an image of the right mode
or to raise `UnreadableImageError`, in 20 seconds and 8 GiB of address space.
Prints a table by format: files that were decoded, left out, and escaped. Those
that escaped are written to --output, and the exit status is then 1.
"""

import collections
import concurrent.futures
import contextlib
import functools
import io
import itertools
import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import time
import types
import zlib

import numpy as np
from PIL import Image

from vqvae2_tf import flags
from vqvae2_tf.commands import cli
from vqvae2_tf.data import decoding
from vqvae2_tf.flags import Flag

FLAGS = [
    Flag("count", 20_000, "Number of damaged files.", 1),
    Flag("seed", 0, "Seed of the damages.", 0),
    Flag("output", None, "Folder for the files that escaped.", path=True),
]
MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "I;16", "I;16B", "F"),
)
OUTCOMES = ("decoded", "left out", "escaped")
SECONDS, BYTES = 20, 8 << 30
# Ways to save an image, beside each format's own.
OPTIONS = {
    "AVIF": [{"quality": 100, "subsampling": "4:4:4"}],
    "BMP": [],
    "GIF": [{"transparency": 1}, {"interlace": 0}],
    "JPEG": [{"progressive": True}, {"subsampling": 0, "quality": 95}],
    "PNG": [
        {"transparency": 1},
        {"transparency": (1, 2, 3)},
        {"compress_level": 0},
    ],
    "TIFF": [
        {"compression": name}
        for name in ("packbits", "tiff_adobe_deflate", "tiff_lzw")
    ],
    "WEBP": [{"lossless": True}, {"exact": True, "quality": 10}],
}
# Compressions of TIFF for one mode; Pillow 11 ends the process at the others.
COMPRESSIONS = {
    "1": ["group3", "group4", "tiff_ccitt"],
    "L": ["jpeg"],
    "RGB": ["jpeg"],
}


@functools.cache
def originals() -> dict[str, list[bytes]]:
    """Sound files of each format; most of the formats are not opened."""
    Image.init()
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(2, 24, 33, 4)).astype("uint8")
    noise[:, 4:20, 5:25] = 200
    frames = [Image.fromarray(values) for values in noise]
    exif = Image.Exif()
    exif[0x0112] = 6
    files = collections.defaultdict(list)
    for mode in MODES:
        first, second = (_converted(frame, mode) for frame in frames)
        animation = {"save_all": True, "append_images": [second]}
        for name in sorted(Image.SAVE):
            if name == "ICNS":  # Enlarges images, which takes long.
                continue
            ways = [{}, {"exif": exif}, *OPTIONS.get(name, [])]
            if name in Image.SAVE_ALL:
                ways.append(animation)
            if name == "TIFF":
                own = COMPRESSIONS.get(mode, [])
                ways += [{"compression": compression} for compression in own]
            for options in ways:
                file = io.BytesIO()
                # Few formats have all modes.
                with contextlib.suppress(Exception):
                    first.save(file, name, **options)
                    files[name].append(file.getvalue())
    return files


def _converted(image, mode):
    if mode in ("LAB", "HSV"):
        return Image.frombytes(mode, image.size, image.convert("RGB").tobytes())
    if mode in ("I", "I;16", "I;16B", "F"):
        return image.convert("L").convert(mode)
    return image.convert(mode)


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """The format and the contents of a file, a function of seed and number."""
    rng = np.random.default_rng([seed, number])
    # Most files are of the formats that are opened.
    names = [*originals(), *10 * [*OPTIONS, "MPO"]]
    name = names[rng.integers(len(names))]
    data = _any_of(name, rng)
    # Few damages, or none would get far into a decoder.
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        data = damage(data, rng) if data else data
    return name, bytes(_with_checksums(data) if rng.integers(2) else data)


def _with_checksums(data):
    """Corrects the checksums of a PNG file, which hide all other damages."""
    place = 8
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        if end + 4 <= len(data):
            checksum = zlib.crc32(data[place + 4 : end])
            data[end : end + 4] = checksum.to_bytes(4)
        place = end + 4
    return data


def _any_of(name, rng):
    files = originals()[name]
    return bytearray(files[rng.integers(len(files))])


def _part(data, rng):
    """A slice of up to 64 bytes, near the start in half of the cases."""
    end = min(len(data), 200) if rng.integers(2) else len(data)
    start = int(rng.integers(end))
    return slice(start, start + int(rng.integers(1, 65)))


def cut(data, rng):
    return data[: int(rng.integers(len(data)))]


def flip(data, rng):
    for _ in range(rng.integers(1, 9)):
        place = _part(data, rng).start
        data[place] = rng.integers(256)
    return data


def repeat(data, rng):
    part = _part(data, rng)
    data[part.start : part.start] = data[part] * int(rng.integers(1, 50))
    return data


def remove(data, rng):
    del data[_part(data, rng)]
    return data


def clear(data, rng):
    part = _part(data, rng)
    data[part] = bytes(len(data[part]))
    return data


def resize(data, rng):
    """Puts a number of 2 or 4 bytes where a header may have a size."""
    length = int(rng.choice([2, 4]))
    value = int(2 ** rng.uniform(0, 8 * length)) - int(rng.integers(2))
    order = ["little", "big"][rng.integers(2)]
    # Where the header has the image's width or height; else anywhere.
    sizes = [(n).to_bytes(length, order) for n in (33, 24, 32, 23)]
    places = [data.find(size, 0, 300) for size in sizes]
    places = [place for place in places if place >= 0]
    place = _part(data, rng).start
    if places and rng.integers(4):
        place = places[rng.integers(len(places))]
    data[place : place + length] = value.to_bytes(length, order)
    return data


def swap_header(data, rng):
    """Puts the start of another file before the rest of this one."""
    other = _any_of(rng.choice(list(originals())), rng)
    length = int(rng.integers(4, 64))
    return other[:length] + data[length:]


def random_body(data, rng):
    """Keeps the start, with the magic number."""
    length = int(rng.integers(12, 64))
    return data[:length] + bytearray(rng.bytes(int(rng.integers(2000))))


DAMAGES = [cut, flip, repeat, remove, clear, resize, swap_header, random_body]


def outcome(data: bytes, channels: int) -> str:
    """One of `OUTCOMES`, with what escaped."""
    try:
        image = decoding.decode_image(data, channels)
    except decoding.UnreadableImageError:
        return "left out"
    except BaseException as error:
        return f"escaped: {error!r}"
    mode = "L" if channels == 1 else "RGB"
    return "decoded" if image.mode == mode else f"escaped: mode {image.mode}"


def _decode(seed, numbers, connection):
    """Sends each number's outcome; runs in a process of its own."""
    # Decoders print too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    for number in numbers:
        name, data = damaged(seed, number)
        # Ends the process, also in the midst of a decoder.
        signal.alarm(SECONDS)
        result = outcome(data, 1 if number % 2 else 3)
        signal.alarm(0)
        connection.send((number, name, result))


def outcomes(seed: int, numbers: range) -> list[tuple[int, str, str]]:
    """Each number with its format and outcome, even if processes end."""
    found = []
    context = multiprocessing.get_context("spawn")
    while len(found) < len(numbers):
        receiver, sender = context.Pipe(duplex=False)
        rest = numbers[len(found) :]
        process = context.Process(target=_decode, args=(seed, rest, sender))
        process.start()
        sender.close()
        with contextlib.suppress(EOFError):
            while True:
                found.append(receiver.recv())
        process.join()
        if len(found) < len(numbers):
            number = numbers[len(found)]
            name, _ = damaged(seed, number)
            status = f"exit status {process.exitcode}"
            found.append((number, name, f"escaped: {status}"))
    return found


def _write(options, number):
    """Writes a file to --output."""
    if options.output:
        folder = pathlib.Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        name, data = damaged(options.seed, number)
        file_name = f"{options.seed}-{number}.{name.lower()}"
        (folder / file_name).write_bytes(data)


def main(arguments):
    """Prints the table."""
    values, _ = flags.parse(FLAGS, arguments, __doc__)
    options = types.SimpleNamespace(**values)
    start = time.perf_counter()
    cores = len(os.sched_getaffinity(0))
    parts = [range(i, options.count, cores) for i in range(cores)]
    table = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        found = pool.map(functools.partial(outcomes, options.seed), parts)
        for number, name, result in itertools.chain.from_iterable(found):
            word, _, reason = result.partition(": ")
            table[name][word] += 1
            table["all"][word] += 1
            if word == "escaped":
                print(f"{number} ({name}): {reason}")
                _write(options, number)
    print(f"{'':10}" + "".join(f"{word:>10}" for word in OUTCOMES))
    for name, counts in sorted(table.items()):
        print(f"{name:10}" + "".join(f"{counts[w]:10}" for w in OUTCOMES))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{seconds:.0f} s; at most {peak:.2f} GiB in one process")
    if table["all"]["escaped"]:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
