"""Kedro datasets of the catalog: files, arrays, crops, encoders and probes."""
