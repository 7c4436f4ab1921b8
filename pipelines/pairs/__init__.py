"""The stages of a method of pairs, where they are not those of images; each method has its data under its own name."""
