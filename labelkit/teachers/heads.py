"""A classifier's own head at every position, so that the positions' mean is its own answer.

Average pooling and linear layers commute, so most heads can be applied to each position as it is.
A normalisation *after* the pool does not: its scale must come from the pooled vector, not from the
position's. With that scale fixed it is affine, and the mean is exact again.

Legend: B batch, C classes, D features, H W grid.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from timm.layers import norm as timm_norms
from torch import Tensor, nn

from labelkit.errors import TeacherError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from labelkit.teachers.features import GridFeatures

    Head = Callable[[Tensor], Tensor]
    Inputs = dict[nn.Module, Tensor]

_ROOT_MEAN_SQUARE = (
    nn.RMSNorm,
    timm_norms.RmsNorm,
    timm_norms.RmsNorm2d,
    timm_norms.RmsNormFp32,
    timm_norms.RmsNorm2dFp32,
)
_NORMS = (nn.LayerNorm, *_ROOT_MEAN_SQUARE)


def head_map(
    model: nn.Module, head: Head, whole: Tensor, features: GridFeatures, *, forced: bool
) -> Tensor:
    """The head's scores at every position: (B, C, H, W), float32.

    Args:
        model: holds the head's normalisations.
        head: features in the model's layout to (n, C).
        whole: the features of whole images, as the head takes them.
        features: the same, by position.
        forced: feed each token to a head that reads a class token.

    Raises:
        TeacherError: the head does not take one position, or answers from a class token.
    """
    batch, height, width, _ = features.vectors.shape
    pooled = _inputs_of_pooled_norms(model, head, whole)
    one = features.as_prefix() if forced else features.one_by_one()
    try:
        with _fixed_scales(pooled, height * width):
            scores = head(one)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        raise TeacherError(
            f"the head of {type(model).__name__} does not take features of one position "
            f"({first_line(error)}): take a model that pools by the average"
        ) from error
    if scores.ndim != 2:
        raise TeacherError(
            f"the head of {type(model).__name__} gives scores of shape {list(scores.shape)}, not "
            "one row of class scores an image: take a classifier"
        )
    return scores.float().reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def pooled_norms(model: nn.Module, head: Head, whole: Tensor) -> list[nn.Module]:
    """The normalisations that a head applies to pooled vectors, one vector an image."""
    return list(_inputs_of_pooled_norms(model, head, whole))


def _inputs_of_pooled_norms(model: nn.Module, head: Head, whole: Tensor) -> Inputs:
    """What the head's normalisations see for whole images, where that is one vector (B, D) each."""
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
    """Within, these normalisations scale each position as they scale its image's pooled vector."""

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
