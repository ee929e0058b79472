"""Which target a crop gets: the four of the ReLabel paper, the original label, and mixtures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from labelkit.data.other_share import Other
from labelkit.targets import Absent, Method, check_pooling_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.label_maps import MapForm

Label: TypeAlias = Literal[
    "local-multi", "global-multi", "local-single", "global-single", "original"
]


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """How a label map becomes a crop's target.

    Attributes:
        label: ``local-multi`` is the softmax of the logits pooled over the crop, as the paper
            proposes; ``global-multi`` pools over the whole image, whatever the crop. The
            ``single`` ones put all probability on the strongest class of the same. ``original`` is
            the data set's own label.
        original: share of the original label in the target, from 0 to 1.
        temperature: what pooled logits are divided by before the softmax, from 0.001 to 1000;
            above 1 softens.
        method: ``relabel`` pools logits; ``probability`` pools each cell's softmax, and needs maps
            made with ``--log-sum-exp``.
        absent: what classes count as in cells that do not store them: the map's own ``background``,
            or ``zeros`` as published, which is refused for log-probabilities.
        calibrated: apply the file's calibration, if it has one; it is fitted to pooled logits over
            the background, so ``probability`` and ``zeros`` go without.
        other: what becomes of the probability of *other*, where the file stores it: the teacher's
            classes that belong to none of the file's. ``label`` gives it to the image's original
            label, ``even`` to all classes alike, ``output`` to one more class: the target then has
            C + 1 columns, and the student needs as many outputs. ``weight`` leaves it out, so that
            the target sums to less than 1 and the crop counts less in the loss. ``drop``, the
            default, shares it out in proportion, as if the teacher knew no other classes.
        tokens: rows and columns (h, w) of a student's last feature map: adds a second target with
            one distribution per position; None for one target.

    Raises:
        ValueError: a value is out of range.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3 and the ablation of its labels; Jiang et
    al. 2021 (arXiv 2104.10858), section 3, for token targets.
    """

    label: Label = "local-multi"
    original: float = 0.0
    temperature: float = 1.0
    method: Method = "relabel"
    absent: Absent = "background"
    calibrated: bool = True
    other: Other = "drop"
    tokens: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.label not in get_args(Label):
            choices = ", ".join(get_args(Label))
            raise ValueError(f"label is {self.label!r}, expected one of {choices}")
        if not 0 <= self.original <= 1:
            raise ValueError(f"original is {self.original}, expected a share from 0 to 1")
        if not 0.001 <= self.temperature <= 1000:
            raise ValueError(
                f"temperature is {self.temperature}, expected a number from 0.001 to 1000"
            )
        if self.other not in get_args(Other):
            choices = ", ".join(get_args(Other))
            raise ValueError(f"other is {self.other!r}, expected one of {choices}")
        check_pooling_options(self.method, self.absent)
        if self.tokens is not None and not _is_grid(self.tokens):
            raise ValueError(
                f"tokens is {self.tokens!r}, expected rows and columns of at least 1, as in (7, 7)"
            )

    @property
    def needs_original(self) -> bool:
        """Whether every sample's original label is part of its target, whatever the file."""
        return self.original > 0 or self.label == "original"

    def calibrates(self, forms: Sequence[MapForm]) -> bool:
        """Whether these options apply the calibration of a file with such maps."""
        background = self.absent == "background" or not any(form.background for form in forms)
        return self.calibrated and self.method == "relabel" and background


def _is_grid(tokens: object) -> bool:
    return (
        isinstance(tokens, (tuple, list))
        and len(tokens) == 2
        and all(type(side) is int and side >= 1 for side in tokens)
    )
