"""What a subset is: which classes of a data set, which of their images, and how many."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

ClassOrder: TypeAlias = Literal["random", "largest", "easy", "hard"]
ImageOrder: TypeAlias = Literal["random", "easy", "hard"]


@dataclass(frozen=True, kw_only=True)
class SubsetSettings:
    """Which classes and images a subset has. Filters of classes come first, in this order.

    Attributes:
        depth: the least and the greatest depth of a class in the tree; None for any.
        below: keep the classes below these nodes of the tree, and the nodes themselves; empty for
            all.
        leaves: keep only classes without a class of the data below them, so that none contains
            another.
        min_images: the fewest images that a class has.
        percentiles: keep classes whose number of images lies between these percentiles of the
            numbers of all classes that the filters above kept, both included: 40 and 60 are those
            around the median.
        several: the fewest classes that an image's label map holds; 1 keeps all images.
        area: the share of a map's cells in which a class must be the most probable for the map to
            hold it.
        classes: how many classes to choose; None for all.
        class_order: which ones: at random, those with the most images, or the easiest or hardest by
            the share of images for which the teacher's most probable class is the image's own.
        per_class: how many images of each class: a number, ``smallest`` for as many as the smallest
            class has, None for all. Of a long tail, of its largest class.
        imbalance: the images of the largest class over those of the smallest; 1 is balanced, and
            None leaves the numbers as they are, unless ``per_class`` is given.
        image_order: which images: at random, or the easiest or hardest by the probability of their
            own class in the whole image's map.
        seed: of what is chosen at random.

    Raises:
        ValueError: a value is out of range.
    """

    depth: tuple[int, int] | None = None
    below: tuple[str, ...] = ()
    leaves: bool = False
    min_images: int = 1
    percentiles: tuple[float, float] | None = None
    several: int = 1
    area: float = 0.1
    classes: int | None = None
    class_order: ClassOrder = "random"
    per_class: int | Literal["smallest"] | None = None
    imbalance: float | None = None
    image_order: ImageOrder = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("class_order", ClassOrder), ("image_order", ImageOrder)):
            if getattr(self, name) not in get_args(value):
                choices = ", ".join(get_args(value))
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {choices}")
        for name in ("min_images", "several", "classes", "per_class"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        if self.imbalance is not None and not 1 <= self.imbalance < float("inf"):
            raise ValueError(f"imbalance is {self.imbalance}, expected at least 1")
        if not 0 < self.area <= 1:
            raise ValueError(f"area is {self.area}, expected a share above 0, at most 1")
        _require_ascending("depth", self.depth, float("inf"))
        _require_ascending("percentiles", self.percentiles, 100)

    @property
    def needs_tree(self) -> bool:
        """Whether classes are chosen by their place in a tree."""
        return self.depth is not None or bool(self.below) or self.leaves

    @property
    def needs_scores(self) -> bool:
        """Whether classes or images are chosen by how easy they are."""
        return self.class_order in {"easy", "hard"} or self.image_order in {"easy", "hard"}

    def as_record(self) -> dict[str, Any]:
        """The settings that differ from the defaults, and the seed, for a manifest."""
        default = asdict(SubsetSettings())
        changed = {name: value for name, value in asdict(self).items() if value != default[name]}
        return changed | {"seed": self.seed}


def _require_ascending(name: str, ends: tuple[float, float] | None, most: float) -> None:
    if ends is not None and not 0 <= ends[0] <= ends[1] <= most:
        raise ValueError(f"{name} is {ends[0]} to {ends[1]}, expected an ascending range from 0")
