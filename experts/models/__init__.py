"""Routed layers in any model: put in place of its modules, collected, and taken out again."""
