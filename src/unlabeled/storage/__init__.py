"""Arrays, checkpoints and rows on disk, and checks that they are intact."""
