"""Trains the most used PyTorch implementation for a given time, and samples.

    git clone https://github.com/rosinality/vq-vae-2-pytorch
    PYTHON tools/peer_samples.py vq-vae-2-pytorch images.npz \\
        --seconds=100,130,170 --output=peer

PYTHON has torch, torchvision, tqdm and Pillow, and needs nothing of this
project. `images.npz` has arr_0, `[N, H, W, 3]` uint8. The VQ-VAE and the priors
of its two levels are trained one after another for so many seconds each, as its
train_vqvae.py and train_pixelsnail.py do it, and drawn from as its sample.py
does. Writes OUTPUT/samples/*.png and OUTPUT/restored/*.png, the images
reconstructed, for `vqvae2 evaluate features --input=folder:...`, and prints a
line of JSON.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

_AT_ONCE = 64


def batches(count, batch_size):
    """Endless numbers of images, each epoch in another order."""
    while True:
        order = torch.randperm(count)
        yield from order[: count - count % batch_size].split(batch_size)


def fit(model, loss_of, count, batch_size, seconds, options):
    """Trains for some seconds. Returns the steps and the last losses' mean."""
    optimizer = torch.optim.Adam(model.parameters(), options.learning_rate)
    start, losses = time.perf_counter(), []
    for chosen in batches(count, batch_size):
        optimizer.zero_grad()
        with options.autocast():
            loss = loss_of(chosen)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if time.perf_counter() - start > seconds:
            break
    model.eval()
    return len(losses), float(np.mean(losses[-100:]))


def write(folder, images):
    """Images `[n, 3, H, W]` in [-1, 1] as PNG files."""
    os.makedirs(folder, exist_ok=True)
    images = (images.float().clamp(-1, 1) + 1) * 127.5
    images = images.round().byte().permute(0, 2, 3, 1).numpy()
    for i, image in enumerate(images):
        Image.fromarray(image).save(os.path.join(folder, f"{i:06d}.png"))


class Options(argparse.Namespace):
    """What the command line asks for."""

    def autocast(self):
        enabled = self.precision == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="the clone of vq-vae-2-pytorch")
    parser.add_argument("images", help=".npz of the training images")
    parser.add_argument("--output", required=True)
    parser.add_argument("--seconds", default="100,130,170", help="of training")
    parser.add_argument("--count", type=int, default=500, help="samples")
    parser.add_argument("--channel", type=int, default=64)
    parser.add_argument("--n_res_channel", type=int, default=32)
    parser.add_argument("--embed_dim", type=int, default=32)
    parser.add_argument("--n_embed", type=int, default=128)
    parser.add_argument("--prior_channel", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=3e-4)
    parser.add_argument("--batch_sizes", default="16,32,16")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args(namespace=Options())
    sys.path.insert(0, options.folder)
    from pixelsnail import PixelSNAIL
    from sample import sample_model
    from vqvae import VQVAE

    torch.manual_seed(0)
    with np.load(options.images) as arrays:
        images = torch.from_numpy(arrays["arr_0"]).permute(0, 3, 1, 2)
    images = images / 127.5 - 1
    count, (height, width) = len(images), images.shape[2:]
    seconds = list(map(float, options.seconds.split(",")))
    sizes = list(map(int, options.batch_sizes.split(",")))
    model = VQVAE(
        channel=options.channel,
        n_res_channel=options.n_res_channel,
        embed_dim=options.embed_dim,
        n_embed=options.n_embed,
    )

    def stage1_loss(chosen):
        restored, commitment = model(images[chosen])
        return functional.mse_loss(restored, images[chosen]) + (
            0.25 * commitment.mean()
        )

    steps = [fit(model, stage1_loss, count, sizes[0], seconds[0], options)]
    with torch.no_grad():
        parts = [model.encode(part)[3:] for part in images.split(_AT_ONCE)]
        top, bottom = (torch.cat(maps) for maps in zip(*parts, strict=True))
        restored = torch.cat(
            [
                model.decode_code(*maps)
                for maps in zip(
                    top.split(_AT_ONCE), bottom.split(_AT_ONCE), strict=True
                )
            ]
        )
    write(os.path.join(options.output, "restored"), restored)
    channel = options.prior_channel
    common = options.n_embed, channel, 5, 4, 4, channel
    prior_of_top = PixelSNAIL([height // 8, width // 8], *common)
    prior_of_bottom = PixelSNAIL(
        [height // 4, width // 4],
        *common,
        attention=False,
        n_cond_res_block=3,
        cond_res_channel=channel,
    )

    def top_loss(chosen):
        logits, _ = prior_of_top(top[chosen])
        return functional.cross_entropy(logits.float(), top[chosen])

    def bottom_loss(chosen):
        logits, _ = prior_of_bottom(bottom[chosen], condition=top[chosen])
        return functional.cross_entropy(logits.float(), bottom[chosen])

    steps += [
        fit(prior_of_top, top_loss, count, sizes[1], seconds[1], options),
        fit(prior_of_bottom, bottom_loss, count, sizes[2], seconds[2], options),
    ]
    start, drawn = time.perf_counter(), []
    for first in range(0, options.count, _AT_ONCE):
        n = min(_AT_ONCE, options.count - first)
        # It prints its progress.
        with contextlib.redirect_stderr(io.StringIO()), options.autocast():
            codes = None
            maps = []
            for prior, stride in ((prior_of_top, 8), (prior_of_bottom, 4)):
                size = [height // stride, width // stride]
                codes = sample_model(
                    prior, "cpu", n, size, options.temperature, codes
                )
                maps.append(codes)
        with torch.no_grad():
            drawn.append(model.decode_code(*maps))
    sample_s = time.perf_counter() - start
    write(os.path.join(options.output, "samples"), torch.cat(drawn))
    mse = functional.mse_loss(restored.clamp(-1, 1), images).item() / 4
    networks = model, prior_of_top, prior_of_bottom
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "parameters": [
                    sum(p.numel() for p in network.parameters())
                    for network in networks
                ],
                "steps_and_losses": steps,
                "training_mse": mse,
                "sample_s": sample_s,
                "count": options.count,
            }
        )
    )


if __name__ == "__main__":
    main()
