"""A leaderboard on paper and screen: Markdown, CSV, JSON, TeX and one HTML page, from one model."""
