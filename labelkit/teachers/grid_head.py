"""A classifier's head at every position of its features, so that the mean over positions is exact.

Average pooling and linear layers commute, so most heads apply to single positions as they are. A
normalisation *after* the pool does not commute: its scale must come from the pooled vector, not
from the position's vector. With that scale fixed it is affine, and the mean is exact again.

Legend: B batch, C classes, D features, H W grid, N tokens, P prefix tokens (class, register),
S image side.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import torch
from timm.layers import norm as timm_norms
from timm.models.vgg import VGG
from timm.models.volo import VOLO
from torch import Tensor, nn

from labelkit.errors import TeacherError, first_line, is_machine_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    Head = Callable[[Tensor], Tensor]
    Inputs = dict[nn.Module, Tensor]

MAX_PREFIX_TOKENS = 8
GRID_MODELS = (
    "efficientnet-lite0, resnet50.a1_in1k, convnext_tiny.fb_in1k, "
    "swin_tiny_patch4_window7_224.ms_in1k or vit_medium_patch16_gap_256.sw_in12k_ft_in1k"
)

_ROOT_MEAN_SQUARE = (
    nn.RMSNorm,
    timm_norms.RmsNorm,
    timm_norms.RmsNorm2d,
    timm_norms.RmsNormFp32,
    timm_norms.RmsNorm2dFp32,
)
_NORMS = (nn.LayerNorm, *_ROOT_MEAN_SQUARE)


# A model in two steps: features, then head.


@runtime_checkable
class SplitModel(Protocol):
    """A classifier in two steps, like every timm model: ``forward`` runs one after the other.

    A model may have two more attributes: ``output_fmt``, which is ``"NHWC"`` if features come last,
    and ``num_prefix_tokens``, the number of tokens before those of the grid.
    """

    def forward_features(self, x: Tensor, /) -> object:
        """Images (B, 3, S, S) to features (B, D, H, W), (B, H, W, D) or tokens (B, N, D)."""
        ...

    def forward_head(self, x: Tensor, /) -> Tensor:
        """Features to class scores (B, C): a pool over the positions, then the rest."""
        ...


@runtime_checkable
class DenseModel(Protocol):
    """A model that computes its map itself."""

    def logits_map(self, x: Tensor, /) -> Tensor:
        """Images (B, 3, S, S) to class scores at every position (B, C, H, W)."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """A model's two steps.

    Attributes:
        features: images to the last features before the pool.
        head: features to scores (B, C).
        special: how this model differs from the rest, for the reason that ``check`` gives; empty
            for most.
    """

    features: Callable[[Tensor], object]
    head: Callable[[Tensor], Tensor]
    special: str = ""


def split(model: nn.Module) -> Split:
    """A model's features and head.

    Raises:
        TeacherError: the model has no ``forward_features`` and ``forward_head``.
    """
    if not isinstance(model, SplitModel):
        raise TeacherError(
            f"{type(model).__name__} has neither forward_features and forward_head nor logits_map. "
            "Add one or the other: see labelkit.teachers.SplitModel and DenseModel"
        )
    if isinstance(model, VGG):
        # Its first "linear" layers are convolutions that run before the pool.
        return Split(
            lambda x: model.pre_logits(model.forward_features(x)),
            model.head,
            "its dense layers run as convolutions before the average pool",
        )
    if isinstance(model, VOLO) and model.aux_head is not None:
        # This head was trained on token labels, so unlike the class token it knows each position.
        aux_head = cast("nn.Module", model.aux_head)
        return Split(
            lambda x: model.forward_features(x)[:, 1:],
            lambda x: aux_head(x.mean(dim=1)),
            "predicts with its head for tokens, without the class token's head",
        )
    return Split(model.forward_features, model.forward_head)


# Features as a grid of positions.


class Layout(Enum):
    """How a model lays out its features in memory."""

    NCHW = "(B, D, H, W)"
    NHWC = "(B, H, W, D)"
    TOKENS = "(B, P + H*W, D)"


@dataclass(frozen=True, eq=False)
class GridFeatures:
    """The features of a batch, one vector per position.

    Attributes:
        vectors: (B, H, W, D).
        prefix: (B, P, D), the tokens before those of the positions; P may be 0.
        layout: what the model's head expects.
    """

    vectors: Tensor
    prefix: Tensor
    layout: Layout

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.vectors.shape[1], self.vectors.shape[2]

    def one_by_one(self) -> Tensor:
        """Every position as a feature map of one position: B*H*W of them, in the model's layout.

        A token keeps the prefix tokens of its image before it, as the head expects.
        """
        batch, height, width, depth = self.vectors.shape
        flat = self.vectors.reshape(-1, 1, depth)
        if self.layout is Layout.TOKENS:
            return torch.cat([self.prefix.repeat_interleave(height * width, dim=0), flat], dim=1)
        if self.layout is Layout.NHWC:
            return flat.unsqueeze(1)
        return flat.reshape(batch * height * width, depth, 1, 1)

    def as_prefix(self) -> Tensor:
        """Every position's token, repeated in place of all prefix tokens and of itself."""
        flat = self.vectors.reshape(-1, 1, self.vectors.shape[-1])
        return flat.expand(-1, self.prefix.shape[1] + 1, -1)


def read_features(
    features: Tensor, model: nn.Module, image: tuple[int, int], name: str
) -> GridFeatures:
    """Features as a grid.

    Args:
        features: the result of ``forward_features``: (B, D, H, W), (B, H, W, D) or (B, P + H*W, D).
        model: the model that computed it; may have ``output_fmt`` and ``num_prefix_tokens``.
        image: rows and columns of the input; a grid of tokens has the same aspect ratio.
        name: the teacher's name, for the message.

    Raises:
        TeacherError: the features are not one vector per position.
    """
    if features.ndim == 4:
        layout = _layout(model, features)
        vectors = features if layout is Layout.NHWC else features.permute(0, 2, 3, 1)
        no_prefix = features.new_zeros(len(features), 0, vectors.shape[-1])
        return GridFeatures(vectors, no_prefix, layout)
    found = _token_grid(model, features.shape[1], image) if features.ndim == 3 else None
    if found is None:
        raise no_grid(name, f"of shape {list(features.shape)}")
    prefix, height, width = found
    tokens = features[:, prefix:].unflatten(1, (height, width))
    return GridFeatures(tokens, features[:, :prefix], Layout.TOKENS)


def no_grid(name: str, what: str) -> TeacherError:
    """The error for features that are not one vector per position."""
    return TeacherError(
        f"{name} returns features {what}, not one vector per position, so it has no spatial grid. "
        f"Use a convolutional or average-pooled model, such as {GRID_MODELS}"
    )


def _layout(model: nn.Module, features: Tensor) -> Layout:
    stated = str(getattr(model, "output_fmt", ""))
    if stated in Layout.__members__:
        return Layout[stated]
    depth = getattr(model, "num_features", features.shape[1])
    last = features.shape[1] != depth and features.shape[-1] == depth
    return Layout.NHWC if last else Layout.NCHW


def _token_grid(
    model: nn.Module, tokens: int, image: tuple[int, int]
) -> tuple[int, int, int] | None:
    """Prefix tokens, rows and columns of a sequence; None if no grid has the image's ratio."""
    stated = getattr(model, "num_prefix_tokens", None)
    for prefix in range(MAX_PREFIX_TOKENS + 1) if stated is None else (int(stated),):
        cells = tokens - prefix
        if cells < 2:
            break
        height = round(math.sqrt(cells * image[0] / image[1]))
        if height and cells % height == 0:
            width = cells // height
            # Up to one patch may be cut off at the edges, but the ratio remains that of the image.
            if abs(height * image[1] - width * image[0]) < max(image):
                return prefix, height, width
    return None


# The head at every position.


def head_map(
    model: nn.Module, head: Head, whole: Tensor, features: GridFeatures, *, forced: bool
) -> Tensor:
    """The head's scores at every position: (B, C, H, W), float32.

    Args:
        model: contains the head's normalisations.
        head: features in the model's layout to (n, C).
        whole: the features of whole images, in the model's layout.
        features: the same features, by position.
        forced: feed each token to a head that reads a class token.

    Raises:
        TeacherError: the head does not take one position, or does not return class scores.
    """
    batch, height, width, _ = features.vectors.shape
    pooled = _inputs_of_pooled_norms(model, head, whole)
    positions = features.as_prefix() if forced else features.one_by_one()
    try:
        with _fixed_scales(pooled, height * width):
            scores = head(positions)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        if is_machine_failure(error):
            raise
        raise TeacherError(
            f"the head of {type(model).__name__} does not take features of one position "
            f"({first_line(error)}). Use a model with average pooling"
        ) from error
    if scores.ndim != 2:
        raise TeacherError(
            f"the head of {type(model).__name__} returns scores of shape {list(scores.shape)}, "
            "expected one row of class scores per image. Use a classifier"
        )
    return scores.float().reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def pooled_norms(model: nn.Module, head: Head, whole: Tensor) -> list[nn.Module]:
    """The normalisations that a head applies to pooled vectors, one vector per image."""
    return list(_inputs_of_pooled_norms(model, head, whole))


def _inputs_of_pooled_norms(model: nn.Module, head: Head, whole: Tensor) -> Inputs:
    """The inputs of the head's normalisations for whole images, if one vector (B, D) each."""
    inputs: Inputs = {}

    def note(norm: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        vector = arguments[0].flatten(1)
        if vector.shape == (len(whole), _width(norm)):
            inputs[norm] = vector

    norms = [module for module in model.modules() if isinstance(module, _NORMS)]
    if norms:
        with _hooked(norms, note):
            head(whole)
    return inputs


@contextmanager
def _fixed_scales(pooled: Inputs, positions: int) -> Generator[None]:
    """Make these normalisations scale each position as they scale the image's pooled vector."""

    def rescale(norm: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        vector, whole = arguments[0].flatten(1).float(), pooled[norm].float()
        eps = cast("float | None", norm.eps) or 0.0
        if isinstance(norm, _ROOT_MEAN_SQUARE):
            power = whole.square().mean(dim=1)
        else:
            power = whole.var(dim=1, correction=0)
            vector = vector - vector.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(power + eps).repeat_interleave(positions)
        result = vector * scale[:, None]
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        result = result if weight is None else result * weight
        result = result if bias is None else result + bias
        return result.reshape(output.shape).to(output.dtype)

    with _hooked(list(pooled), rescale):
        yield


@contextmanager
def _hooked(modules: Sequence[nn.Module], hook: Callable[..., Tensor | None]) -> Generator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _width(norm: nn.Module) -> int:
    (width,) = cast("tuple[int, ...]", norm.normalized_shape)[-1:]
    return width
