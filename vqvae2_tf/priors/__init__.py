"""Stage 2: priors, one a file."""

from vqvae2_tf.priors.maskgit import MaskGIT
from vqvae2_tf.priors.pixelsnail import PixelSNAIL
from vqvae2_tf.priors.transformer import Transformer
