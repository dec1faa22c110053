"""Kernels that run the experts of a bank: layouts, plans and grouped products."""
