"""Parts of the six stages that every kind of data shares."""
