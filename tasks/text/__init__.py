"""Byte-level text: encodings, n-grams and character data."""
