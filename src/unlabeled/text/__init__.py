"""Text instead of images: what ingestion, cache, encoder and evaluation do of their own.

The loop and the probe are shared.
"""
