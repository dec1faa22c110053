"""Batches, seeds and the distribution of samples over ranks."""
