"""Probes, statistics and rules: how good an encoder is, and how sure that is."""
