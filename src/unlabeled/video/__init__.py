"""Clips, which are frames with their sound: the parts of ingestion and cache that are specific to them."""
