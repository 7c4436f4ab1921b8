"""The stages of methods of text. Each method has its data under its own name."""
