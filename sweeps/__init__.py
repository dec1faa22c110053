"""Sweeps compare routers: equal budgets, several objectives, fresh seeds for what is reported."""
