"""Results of a sweep: directory, ranking, leaderboard and tables."""
