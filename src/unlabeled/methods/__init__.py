"""One method a file. A new one takes a file here, a line in `unlabeled.catalogue`, parameters and a test."""
