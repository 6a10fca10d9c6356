"""Times the most used PyTorch implementation as `benchmark.py` times ours.

    git clone https://github.com/rosinality/vq-vae-2-pytorch
    python tools/benchmark.py stage1 --against="PYTHON \\
        tools/benchmark_peer.py vq-vae-2-pytorch stage1"

PYTHON has torch, and for `sampling` torchvision and tqdm, and needs nothing of
this project. Prints rows of the same names as `benchmark.py`, measured in the
same way, at the same widths.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import time

import torch


def stage1(options, image_size, batch_size):
    """One row; see `stage1` of `benchmark.py`."""
    from vqvae import VQVAE

    model = VQVAE(n_res_channel=64).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    shape = batch_size, 3, image_size, image_size
    images = torch.rand(shape, device=options.device) * 2 - 1

    @options.compiled
    def loss_of(images):
        with options.autocast():
            reconstruction, commitment = model(images)
            loss = ((reconstruction.float() - images) ** 2).mean()
            return loss + 0.25 * commitment.float().mean()

    def train():
        optimizer.zero_grad()
        loss_of(images).backward()
        optimizer.step()

    @torch.no_grad()
    @options.compiled
    def encode():
        with options.autocast():
            return model.encode(images)

    train_s = median_seconds(train, options)
    peak_gib = options.peak_gib()
    model.eval()
    quantized = encode()[:2]

    @torch.no_grad()
    @options.compiled
    def decode():
        with options.autocast():
            return model.decode(*quantized)

    return {
        "image_size": image_size,
        "batch_size": batch_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_step_s": train_s,
        "train_images_per_s": batch_size / train_s,
        "encode_images_per_s": batch_size / median_seconds(encode, options),
        "decode_images_per_s": batch_size / median_seconds(decode, options),
        "peak_gib": peak_gib,
    }


def prior(options, map_size, channels, layers, batch_size):
    """One row; see `prior` of `benchmark.py`: four blocks with attention."""
    model = make_prior(options, map_size, channels, layers)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    shape = batch_size, map_size, map_size
    codes = torch.randint(0, 512, shape, device=options.device)

    @options.compiled
    def loss_of(codes):
        with options.autocast():
            logits, _ = model(codes)
        return torch.nn.functional.cross_entropy(logits.float(), codes)

    def train():
        optimizer.zero_grad()
        loss_of(codes).backward()
        optimizer.step()

    train_s = median_seconds(train, options)
    return {
        "map_size": [map_size, map_size],
        "hidden_units": channels,
        "batch_size": batch_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_step_s": train_s,
        "train_codes_per_s": codes.numel() / train_s,
        "peak_gib": options.peak_gib(),
    }


def sampling(options, map_size, channels, layers, batch_size):
    """One row; see `sampling` of `benchmark.py`; once, with its `sample.py`."""
    from sample import sample_model

    model = make_prior(options, map_size, channels, layers).eval()
    start = time.perf_counter()
    # It prints its progress.
    with contextlib.redirect_stderr(io.StringIO()), options.autocast():
        size = [map_size, map_size]
        codes = sample_model(model, options.device, batch_size, size, 1.0)
    codes.cpu()
    sample_s = time.perf_counter() - start
    return {
        "map_size": [map_size, map_size],
        "batch_size": batch_size,
        "sample_s": sample_s,
        "seconds_per_image": sample_s / batch_size,
    }


def make_prior(options, map_size, channels, layers):
    from pixelsnail import PixelSNAIL

    size = [map_size, map_size]
    model = PixelSNAIL(size, 512, channels, 5, 4, layers, channels, dropout=0.1)
    return model.to(options.device)


def median_seconds(function, options):
    def call():
        function()
        if options.device == "cuda":
            torch.cuda.synchronize()

    call()
    call()
    seconds = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Options(argparse.Namespace):
    """What the command line asks for."""

    def autocast(self):
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device, torch.bfloat16, enabled=enabled)

    def compiled(self, function):
        return torch.compile(function) if self.compile else function

    def peak_gib(self):
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**30
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="the clone of vq-vae-2-pytorch")
    parser.add_argument("job", choices=["stage1", "prior", "sampling"])
    parser.add_argument("--image_sizes", default="64,128,256")
    parser.add_argument(
        "--priors",
        default="16x64x2,32x128x4",
        help="map size, channels, and layers of each of four blocks",
    )
    parser.add_argument("--batch_sizes", help="as of benchmark.py")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args(namespace=Options())
    sys.path.insert(0, options.folder)
    if options.job == "stage1":
        time_job, defaults, names = stage1, "32,16,8", options.image_sizes
    else:
        time_job = prior if options.job == "prior" else sampling
        defaults, names = "8,2", options.priors
    sizes = [map(int, name.split("x")) for name in names.split(",")]
    batches = (options.batch_sizes or defaults).split(",")
    rows = [
        time_job(options, *size, int(batch))
        for size, batch in zip(sizes, batches, strict=True)
    ]
    print(json.dumps({"torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
