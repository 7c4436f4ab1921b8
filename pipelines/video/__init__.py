"""The stages of a method of clips, where they are not those of images; each method has its data under its own name."""
