"""What a crop's target does with the probability of *other*.

*Other* stands for the teacher's classes that belong to none of the file's C classes; it is the last
of the file's C + 1 outputs, class index C. Loads no torch by itself.

# B crops, E entries, C classes, h w positions of a student's feature map
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    import torch

Other: TypeAlias = Literal["label", "even", "output", "weight", "drop"]
"""``drop`` is done before the softmax, by leaving *other* out of it; the rest after it."""


def share_out(dense: torch.Tensor, other: Other, labels: torch.Tensor) -> torch.Tensor:
    """Probabilities (B, C + 1) or (B, C + 1, h, w), without *other* unless it is an output.

    Args:
        dense: the softmax over all outputs.
        other: what to do with the last one.
        labels: the class of each original label (B,); read only for ``label``.
    """
    if other == "output":
        return dense
    kept, outside = dense[:, :-1].clone(), dense[:, -1:]
    if other == "even":
        kept += outside / kept.shape[1]
    elif other == "label":
        places = labels.view(-1, *[1] * (dense.ndim - 1)).expand_as(outside)
        kept.scatter_add_(1, places, outside)
    return kept


def share_out_listed(
    dense: torch.Tensor,
    rest: torch.Tensor,
    listed: torch.Tensor,
    other: Other,
    labels: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same for probabilities of which some are listed.

    Args:
        dense: (B, C + 1).
        rest: the probability of a class that is not listed (B,).
        listed: which are (B, C + 1).
        other: as in ``share_out``.
        labels: as in ``share_out``.

    Returns:
        The three without *other*. With ``weight`` the last class is listed: targets that do not sum
        to 1 tell by it how many classes they are of.
    """
    if other == "output":
        return dense, rest, listed
    kept, named = share_out(dense, other, labels), listed[:, :-1].clone()
    if other == "even":
        rest = rest + dense[:, -1] / kept.shape[1]
    elif other == "label":
        named.scatter_(1, labels[:, None], value=True)
    elif other == "weight":
        named[:, -1] = True
    return kept, rest, named


def share_out_entries(
    sparse: SparseProbabilities, other: Other, labels: torch.Tensor, num_classes: int
) -> SparseProbabilities:
    """The same for entries (B, E) over C + 1 outputs, with one more of the label or the last class.

    Args:
        sparse: the softmax over all outputs.
        other: as in ``share_out``.
        labels: as in ``share_out``.
        num_classes: C.
    """
    if other == "output":
        return sparse
    import torch

    at_other = sparse.classes == num_classes
    outside = sparse.rest + (sparse.excess * at_other).sum(dim=1)
    classes = sparse.classes.masked_fill(at_other, 0)
    excess = sparse.excess.masked_fill(at_other, 0.0)
    rest, place, added = sparse.rest, torch.full_like(labels, num_classes - 1), outside * 0
    if other == "even":
        rest = rest + outside / num_classes
    elif other == "label":
        place, added = labels, outside
    return SparseProbabilities(
        torch.cat([classes, place[:, None]], dim=1),
        torch.cat([excess, added[:, None]], dim=1),
        rest,
    )
