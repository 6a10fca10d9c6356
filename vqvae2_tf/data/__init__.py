"""Images only: sources, decoding, augmentation, batches."""
