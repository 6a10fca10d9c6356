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
    parser.add_argument("job", choices=["stage1"])
    parser.add_argument("--image_sizes", default="64,128,256")
    parser.add_argument("--batch_sizes", default="32,16,8")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sys.path.insert(0, options.folder)
    rows = [
        stage1(int(size), int(batch), options.precision, options.repeats)
        for size, batch in zip(
            options.image_sizes.split(","),
            options.batch_sizes.split(","),
            strict=True,
        )
    ]
    print(json.dumps({"torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
