"""Pictures in, codes in and out. Imports nothing else of this package."""
