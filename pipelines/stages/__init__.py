"""Parts of the six stages that all kinds of data share."""
