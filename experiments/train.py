"""Trains an autoencoder and its priors: `vqvae2 train`.

python experiments/train.py --flagfile=emoji.flags
"""

import sys

from vqvae2_tf.commands import cli

if __name__ == "__main__":
    cli.main(["train", *sys.argv[1:]])
