"""Search spaces, samplers and successive halving."""
