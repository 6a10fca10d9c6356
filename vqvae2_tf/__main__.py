"""`python -m vqvae2_tf VERB --flags`."""

from vqvae2_tf.commands import cli

cli.main()
