"""The routing of items to experts: inputs, assignments, statistics and capacity."""
