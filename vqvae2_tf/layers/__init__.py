"""Layers, one a file, written with `keras.ops` only."""

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.biased import Conv2DTranspose
from vqvae2_tf.layers.biased import Dense
from vqvae2_tf.layers.causal_attention import CausalAttention
from vqvae2_tf.layers.causal_conv import CausalConv2D
from vqvae2_tf.layers.class_embedding import ClassEmbedding
from vqvae2_tf.layers.conditioning_stack import BottleneckBlock
from vqvae2_tf.layers.conditioning_stack import ConditioningStack
from vqvae2_tf.layers.contribution_decoder import ContributionDecoder
from vqvae2_tf.layers.decoder import Decoder
from vqvae2_tf.layers.encoder import Encoder
from vqvae2_tf.layers.gated_residual import GatedResidual
from vqvae2_tf.layers.linked_quantizer import LinkedQuantizer
from vqvae2_tf.layers.local_attention import LocalAttention
from vqvae2_tf.layers.projection import projection
from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.transformer_block import TransformerBlock
from vqvae2_tf.layers.upsampler import Upsampler
from vqvae2_tf.layers.upsampling_conv import UpsamplingConv
from vqvae2_tf.layers.vector_quantizer import VectorQuantizer
