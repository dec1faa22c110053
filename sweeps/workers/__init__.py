"""The process of a trial: its job, and how it starts."""
