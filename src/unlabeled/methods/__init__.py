"""Methods, one in each file. A new one needs a file here, a line in `unlabeled.catalogue`, parameters and a test."""
