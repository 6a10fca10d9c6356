"""Files on disk: atomic writes, locks, provenance, grids, conversion."""
