"""Better labels for the same images: semantic trees, label maps, and the losses that use them."""

__version__ = "0.1.0"
