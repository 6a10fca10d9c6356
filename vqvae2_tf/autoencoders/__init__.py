"""Stage 1: autoencoders, one system a file."""

from vqvae2_tf.autoencoders.external import External
from vqvae2_tf.autoencoders.hr_vqvae import HRVQVAE
from vqvae2_tf.autoencoders.ms_vqvae import MSVQVAE
from vqvae2_tf.autoencoders.vqvae2 import VQVAE2
