"""Statistics of comparisons: intervals, paired tests, multiple testing and Pareto fronts."""
