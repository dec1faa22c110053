"""Simple models on the splits of a task: linear, n-grams, boosted trees."""

from .bytes import bits_per_byte
from .linear import best_linear

__all__ = ["best_linear", "bits_per_byte"]
