"""VQ-VAE-2 in Keras 3 and TensorFlow."""
