"""Code maps on disk."""
