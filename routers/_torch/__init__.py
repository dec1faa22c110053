"""Small additions to torch: compilation limits, fp32 state, stable sorting."""
