"""Clips, which are frames with their sound: what ingestion and cache do of their own."""
