"""Arrays, checkpoints and rows on disk, and whether they are intact."""
