"""Metrics, in NumPy."""
