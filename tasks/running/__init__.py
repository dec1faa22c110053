"""Runs: from a configuration to a finished run directory."""
