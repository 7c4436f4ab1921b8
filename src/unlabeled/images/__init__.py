"""Images: from a file to pixels, crops, views, an encoder and a report."""
