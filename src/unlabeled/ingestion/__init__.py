"""Files, folders, tables and splits: ingestion as every kind of data shares it."""
