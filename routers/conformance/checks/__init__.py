"""Conformance checks, one file for each property."""
