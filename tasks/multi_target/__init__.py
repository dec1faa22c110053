"""Networks, loss weightings and targets of tasks with several targets."""
