"""What a run of ``prepare`` is to make: all that decides its output, byte for byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

ResizeMode = Literal["squash", "short-edge", "keep"]
"""How an image gets its size: to a square, by its short edge, or not at all."""
Split = Literal["first", "hash"]
"""Which images of a class are for validation: the first by name, or those of smallest hashes."""


@dataclass(frozen=True)
class PrepareSettings:
    """The recipe of ImageNet-21K-P, with its published values as defaults.

    Attributes:
        min_images: a class with fewer images is dropped. Images are counted as found, readable or
            not, as the authors' script does.
        val: validation images of each class; 0 for none.
        split: ``first`` takes the first readable ones by name, in the order of their bytes;
            ``hash`` those with the smallest SHA-256 of ``"<seed>/<class>/<name>"``.
        seed: of ``hash``, and of the order of images in shards.
        resize: the side in pixels.
        mode: ``squash`` resizes to a square, ``short-edge`` keeps the aspect ratio, ``keep``
            copies every readable image unchanged.
        quality: of the JPEG encoder, 1 to 100.
        shards: images in a WebDataset shard; None for class folders.

    Raises:
        ValueError: a value is out of range, or no class could keep an image for training.

    Source: Ridnik et al. 2021, section 2.2, and the processing scripts in their repository.
    """

    min_images: int = 500
    val: int = 50
    split: Split = "first"
    seed: int = 0
    resize: int = 224
    mode: ResizeMode = "squash"
    quality: int = 95
    shards: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(ResizeMode):
            raise ValueError(f"mode is {self.mode!r}, expected one of {get_args(ResizeMode)}")
        if self.split not in get_args(Split):
            raise ValueError(f"split is {self.split!r}, expected one of {get_args(Split)}")
        if self.val < 0 or self.min_images <= self.val:
            raise ValueError(
                f"min_images is {self.min_images} and val is {self.val}: a class must have more "
                "images than go to validation"
            )
        if self.resize < 1 or not 1 <= self.quality <= 100:
            raise ValueError("resize must be at least 1, and quality 1 to 100")
        if self.shards is not None and self.shards < 1:
            raise ValueError(f"shards is {self.shards}, expected images per shard, at least 1")

    def fields(self) -> dict[str, Any]:
        """Name -> value, as the manifest holds them."""
        return asdict(self)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the output's splits."""
        return ("train", "val") if self.val else ("train",)
