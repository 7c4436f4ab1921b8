"""Files, folders, tables and splits: the parts of ingestion that every kind of data shares."""
