"""Whole networks out of layers."""

from vqvae2_tf.models.levels import latent_map_sizes
from vqvae2_tf.models.levels import level_names
from vqvae2_tf.models.pixelsnail import PixelSNAIL
from vqvae2_tf.models.vqvae2 import VQVAE2

__all__ = ["PixelSNAIL", "VQVAE2", "latent_map_sizes", "level_names"]
