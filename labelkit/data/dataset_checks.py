"""What the data sets of label maps ask of their arguments, before any image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.data.target_options import TargetOptions
from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from labelkit.label_maps import LabelMapFile


def require_choices(*, missing: str, untraced: str) -> None:
    """Refuse a word that is none of an argument's.

    Raises:
        ValueError: the message names the argument and its choices.
    """
    if missing not in ("error", "hard"):
        raise ValueError(f"missing is {missing!r}, expected error or hard")
    if untraced not in ("refuse", "ignore"):
        raise ValueError(f"untraced is {untraced!r}, expected refuse or ignore")


def given_options(options: object) -> TargetOptions:
    """The options, or the default ones for None.

    Raises:
        TypeError: something else.
    """
    if options is None:
        return TargetOptions()
    if not isinstance(options, TargetOptions):
        raise TypeError(
            f"options are of type {type(options).__name__}, expected labelkit.data.TargetOptions: "
            "TargetOptions(temperature=2.0) and the like"
        )
    return options


def require_logits(maps: LabelMapFile, options: TargetOptions) -> None:
    """Refuse to put logit 0 for absent classes beside logarithms of probabilities.

    There 0 means certain, so that the target would be near even whatever the image shows. Maps
    without a background are shifted around zero when they are made, and probabilities are pooled
    with probability 0 for what is absent: both are fine.

    Raises:
        LabelMapError: as said.
    """
    if options.absent != "zeros" or options.method != "relabel":
        return
    averaged = maps.attrs.get("average") == "probability"
    if averaged and any(form.background for form in maps.forms):
        raise LabelMapError(
            f"{maps.path} holds log-probabilities (labelkit relabel averaged probabilities), next "
            "to which absent='zeros' would make every class that a cell does not store certain: "
            "pass absent='background'"
        )
