"""Registries, the checks of options against signatures, and configuration errors."""
