"""What `vqvae2 evaluate` measures, one a file."""
