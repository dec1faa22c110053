"""Intervals, paired tests and corrections for multiple testing."""
