"""Small additions to torch: compilation limits and fp32 state."""
