"""Causal effects of experts: the score with and without them, by label, and their shares of it."""
