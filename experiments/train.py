"""Trains an autoencoder and its priors: `vqvae2 train`.

python experiments/train.py --flagfile=emoji.flags
"""

import sys

from vqvae2_tf.commands import cli
from vqvae2_tf.commands import train

if __name__ == "__main__":
    cli.run(train.main, sys.argv[1:])
