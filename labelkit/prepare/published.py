"""The published counts of ImageNet-21K-P, and how a run's differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from labelkit.hierarchy import read_class_list

if TYPE_CHECKING:
    from labelkit.prepare.manifest import PrepareManifest

Release = Literal["fall11", "winter21"]
"""The releases of ImageNet-21K that ImageNet-21K-P was made from."""
_LIMIT = 500  # of the paper


@dataclass(frozen=True)
class PublishedCounts:
    """What the authors' processing script leaves of one release.

    Source: dataset_preprocessing/processing_instructions.md in Alibaba-MIIL/ImageNet21K.
    """

    class_list: str
    classes: int
    train: int
    val: int


PUBLISHED_COUNTS: dict[str, PublishedCounts] = {
    "fall11": PublishedCounts("imagenet-21k-p", 11_221, 11_797_632, 561_052),
    "winter21": PublishedCounts("imagenet-21k-p-winter21", 10_450, 11_060_223, 522_500),
}
"""The published counts of each release."""


@dataclass(frozen=True)
class CountDifference:
    """A run against the published counts.

    Attributes:
        release: which.
        counts: for classes, train and val: (found, published).
        missing: published classes that the run dropped or does not have.
        unexpected: classes that the published list does not have.
        at_limit: classes of exactly 500 images, which the paper keeps and the authors' script,
            which asks for more than 500, drops.
    """

    release: str
    counts: dict[str, tuple[int, int]]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    at_limit: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        same = all(found == published for found, published in self.counts.values())
        return same and not self.missing and not self.unexpected


def recognized_release(manifest: PrepareManifest) -> Release | None:
    """The release whose published class list a run's is; None for others."""
    for release, published in PUBLISHED_COUNTS.items():
        if published.class_list == manifest.class_list["name"]:
            return "fall11" if release == "fall11" else "winter21"
    return None


def compare_counts(manifest: PrepareManifest, release: Release) -> CountDifference:
    """How a run's classes and counts differ from the published ones.

    Raises:
        ClassListError: timm, which has the published list, is not installed.
    """
    published = PUBLISHED_COUNTS[release]
    listed, kept = set(read_class_list(published.class_list)), set(manifest.kept)
    counts = {
        name: (manifest.counts[name], getattr(published, name))
        for name in ("classes", "train", "val")
    }
    at_limit = (record.class_id for record in manifest.classes if record.found == _LIMIT)
    return CountDifference(
        release,
        counts,
        tuple(sorted(listed - kept)),
        tuple(sorted(kept - listed)),
        tuple(at_limit),
    )
