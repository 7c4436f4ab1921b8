"""The stages of methods of captioned images. Each method has its data under its own name."""
