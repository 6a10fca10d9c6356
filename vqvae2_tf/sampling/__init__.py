"""Code maps out of priors, in `keras.ops` alone."""

from vqvae2_tf.sampling.sample import sample
from vqvae2_tf.sampling.sample import sample_levels
