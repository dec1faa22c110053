"""Routings of every layer of a model: recorded, and replayed."""
