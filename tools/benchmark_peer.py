"""Times the most used PyTorch implementation as `benchmark.py` times ours.

    git clone https://github.com/rosinality/vq-vae-2-pytorch
    python tools/benchmark.py stage1 --against="PYTHON \\
        tools/benchmark_peer.py vq-vae-2-pytorch stage1"

PYTHON has torch and needs nothing of this project. Prints rows of the same
names as `benchmark.py`, measured in the same way, at the same widths.
"""

import argparse
import json
import statistics
import sys
import time

import torch


def stage1(image_size, batch_size, precision, repeats):
    """One row; see `stage1` of `benchmark.py`."""
    from vqvae import VQVAE

    model = VQVAE(n_res_channel=64)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    images = torch.rand(batch_size, 3, image_size, image_size) * 2 - 1
    autocast = torch.autocast(
        "cpu", torch.bfloat16, enabled=precision == "bfloat16"
    )

    def train():
        optimizer.zero_grad()
        with autocast:
            reconstruction, commitment = model(images)
            loss = ((reconstruction.float() - images) ** 2).mean()
            loss = loss + 0.25 * commitment.float().mean()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def encode():
        with autocast:
            return model.encode(images)

    train_s = median_seconds(train, repeats)
    model.eval()
    quantized = encode()[:2]

    @torch.no_grad()
    def decode():
        with autocast:
            return model.decode(*quantized)

    return {
        "image_size": image_size,
        "batch_size": batch_size,
        "train_step_s": train_s,
        "train_images_per_s": batch_size / train_s,
        "encode_images_per_s": batch_size / median_seconds(encode, repeats),
        "decode_images_per_s": batch_size / median_seconds(decode, repeats),
    }


def prior(map_size, channels, layers, batch_size, precision, repeats):
    """One row; see `prior` of `benchmark.py`: four blocks with attention."""
    from pixelsnail import PixelSNAIL

    model = PixelSNAIL(
        [map_size, map_size], 512, channels, 5, 4, layers, channels, dropout=0.1
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    codes = torch.randint(0, 512, (batch_size, map_size, map_size))
    autocast = torch.autocast(
        "cpu", torch.bfloat16, enabled=precision == "bfloat16"
    )

    def train():
        optimizer.zero_grad()
        with autocast:
            logits, _ = model(codes)
        torch.nn.functional.cross_entropy(logits.float(), codes).backward()
        optimizer.step()

    train_s = median_seconds(train, repeats)
    return {
        "map_size": [map_size, map_size],
        "hidden_units": channels,
        "batch_size": batch_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_step_s": train_s,
        "train_codes_per_s": codes.numel() / train_s,
    }


def median_seconds(function, repeats):
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="the clone of vq-vae-2-pytorch")
    parser.add_argument("job", choices=["stage1", "prior"])
    parser.add_argument("--image_sizes", default="64,128,256")
    parser.add_argument("--batch_sizes", help="as of benchmark.py")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sys.path.insert(0, options.folder)
    if options.job == "stage1":
        time_job, defaults = stage1, "32,16,8"
        sizes = [[int(size)] for size in options.image_sizes.split(",")]
    else:
        time_job, defaults = prior, "8,2"
        sizes = [[16, 64, 2], [32, 128, 4]]
    batches = (options.batch_sizes or defaults).split(",")
    rows = [
        time_job(*size, int(batch), options.precision, options.repeats)
        for size, batch in zip(sizes, batches, strict=True)
    ]
    print(json.dumps({"torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
