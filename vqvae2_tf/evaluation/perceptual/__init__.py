"""Learned distances of two images, one a file."""
