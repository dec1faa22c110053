"""Metrics of expert load and routing balance."""
