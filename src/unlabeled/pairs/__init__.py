"""Data in pairs of two kinds, such as images and their captions: the parts of the stages that are specific to them."""
