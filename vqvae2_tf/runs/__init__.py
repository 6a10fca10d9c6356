"""Runs: their folders, stages and results."""
