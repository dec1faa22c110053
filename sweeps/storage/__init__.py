"""Optuna storages: connection, locks and liveness of workers."""
