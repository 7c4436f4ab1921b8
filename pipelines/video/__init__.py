"""The stages of methods of video. Each method has its data under its own name."""
