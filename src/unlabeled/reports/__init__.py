"""Pages: sections, charts, tables, and the leaderboard."""
