"""What a model must offer to be a teacher, and how its features part from its head.

Legend: B batch, C classes, D features, H W grid, N tokens, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from timm.models.vgg import VGG
from timm.models.volo import VOLO

from labelkit.errors import TeacherError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


@runtime_checkable
class SplitModel(Protocol):
    """A classifier in two steps, as every timm model is: ``forward`` is one after the other.

    A model may say more of itself, all of it optional: ``output_fmt`` is ``"NHWC"`` if features
    come last; ``num_prefix_tokens`` counts the tokens before those of the grid.
    """

    def forward_features(self, x: Tensor, /) -> object:
        """Images (B, 3, S, S) to features (B, D, H, W), (B, H, W, D) or tokens (B, N, D)."""
        ...

    def forward_head(self, x: Tensor, /) -> Tensor:
        """Features to class scores (B, C): a pool over the positions, then the rest."""
        ...


@runtime_checkable
class DenseModel(Protocol):
    """A model that gives its map itself."""

    def logits_map(self, x: Tensor, /) -> Tensor:
        """Images (B, 3, S, S) to class scores at every position (B, C, H, W)."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """A model's two steps.

    Attributes:
        features: images to the last features before the pool.
        head: features to scores (B, C).
        about: what is special about it, for the reason that ``check`` gives; empty for most.
    """

    features: Callable[[Tensor], object]
    head: Callable[[Tensor], Tensor]
    about: str = ""


def split(model: nn.Module) -> Split:
    """A model's features and head.

    Raises:
        TeacherError: the model has no ``forward_features`` and ``forward_head``.
    """
    if not isinstance(model, SplitModel):
        raise TeacherError(
            f"{type(model).__name__} has no forward_features and forward_head, and no logits_map: "
            "add either; labelkit.teachers.SplitModel and DenseModel say what they take and give"
        )
    if isinstance(model, VGG):
        # its first "linear" layers are convolutions that run before the pool
        return Split(
            lambda x: model.pre_logits(model.forward_features(x)),
            model.head,
            "its dense layers run as convolutions before the average pool",
        )
    if isinstance(model, VOLO) and model.aux_head is not None:
        # trained on token labels, so it knows each position by itself; the class token does not
        aux_head = cast("nn.Module", model.aux_head)
        return Split(
            lambda x: model.forward_features(x)[:, 1:],
            lambda x: aux_head(x.mean(dim=1)),
            "its own head for each token answers, the class token's part is left out",
        )
    return Split(model.forward_features, model.forward_head)
