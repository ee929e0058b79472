"""Read what ``torch.save`` wrote: plain values and tensors, checksums checked, no code run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
