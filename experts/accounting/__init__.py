"""FLOP counting."""
