"""Layers that join a router and a bank of experts."""
