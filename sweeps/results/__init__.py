"""Results of a sweep: its folder, ranking, leaderboard and scaling law."""
