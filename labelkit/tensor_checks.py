"""Checks of the tensors that losses and metrics take: shapes, types and class indices.

# B batch, C classes
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_logits(
    logits: Tensor,
    class_count: int | None = None,
    *,
    name: str = "logits",
    columns: str = "one column per class",
) -> None:
    """Raise ValueError unless ``logits`` have shape (B, C), where C is ``class_count`` if given."""
    if logits.ndim != 2 or (class_count is not None and logits.shape[1] != class_count):
        expected = "classes" if class_count is None else class_count
        raise ValueError(
            f"{name} have shape {tuple(logits.shape)}, expected (batch, {expected}): {columns}"
        )


def check_floats(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors hold floats; the message names the one that does not."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floats, got {tensor.dtype}")


def check_not_empty(logits: Tensor, name: str = "logits") -> None:
    """Raise ValueError if the batch, over which a loss takes the mean, is empty."""
    if logits.numel() == 0:
        raise ValueError(
            f"{name} have shape {tuple(logits.shape)}: an empty batch has no mean; skip it"
        )


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors have one shape."""
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ValueError(f"got {describe_shapes(**tensors)}, expected the same shape")


def describe_shapes(**tensors: Tensor) -> str:
    """The names and shapes of tensors, for a message: ``logits (2, 4), target (2, 3)``."""
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())


def check_target(
    target: Tensor,
    batch: int,
    class_count: int,
    *,
    hint: str = "",
    on_accelerators: bool = False,
) -> None:
    """Raise ValueError unless ``target`` holds one class index per sample: integers (B,).

    Args:
        target: class indices.
        batch: B.
        class_count: C.
        hint: what to do with a target of another shape.
        on_accelerators: see ``check_class_range``.
    """
    if tuple(target.shape) != (batch,):
        raise ValueError(
            f"target has shape {tuple(target.shape)}, expected ({batch},): one class index per "
            f"sample{hint}"
        )
    check_integers(target)
    check_class_range(target, class_count, on_accelerators=on_accelerators)


def check_integers(target: Tensor, name: str = "target", expected: str = "integers") -> None:
    """Raise ValueError unless a tensor holds integers, of any width."""
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"{name} must be {expected}, got {target.dtype}")


def check_int64(classes: Tensor, name: str) -> None:
    """Raise ValueError unless class indices are int64, as ``gather`` and ``scatter`` need them."""
    if classes.dtype != torch.int64:
        raise ValueError(f"{name} must be torch.int64, got {classes.dtype}")


def check_class_range(
    classes: Tensor,
    class_count: int,
    *,
    name: str = "target",
    padding: bool = False,
    on_accelerators: bool = False,
) -> None:
    """Raise ValueError if a class index is outside ``class_count`` classes.

    Args:
        classes: integers of any shape.
        class_count: C.
        name: what the message calls them.
        padding: whether -1 is allowed, as "no class".
        on_accelerators: also check on a GPU, where reading the values waits for all pending work.
            Compiled code is never checked: reading the values would break its graph.
    """
    skipped = classes.device.type != "cpu" and not on_accelerators
    if skipped or torch.compiler.is_compiling() or classes.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in classes.aminmax())
    if lowest < (-1 if padding else 0) or highest >= class_count:
        or_padding = ", or -1 for no class" if padding else ""
        raise ValueError(
            f"{name} has classes from {lowest} to {highest}, expected 0 to {class_count - 1}"
            f"{or_padding}: were the labels made with another class list?"
        )
