"""The catalog's kinds of data: files, and what torch reads of them."""
