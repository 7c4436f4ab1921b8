"""Text: the parts of ingestion, cache, encoder and evaluation that are specific to it.

The loop and the probe are shared with the other kinds of data.
"""
