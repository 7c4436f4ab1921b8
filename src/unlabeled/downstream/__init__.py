"""Uses of a trained encoder: embed, search, export, fine-tune, serve."""
