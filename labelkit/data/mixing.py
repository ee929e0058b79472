"""MixUp and CutMix for images whose targets are already soft, dense or sparse.

Torchvision's mixers accept soft targets. Timm's silently treat them as class indices unless they
are built for soft targets: ``Mixup`` returns (B*C, C), and ``FastCollateMixup`` turns every target
into class 0. Neither library's mixers accept sparse targets.
Legend: B batch, E entries, C classes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torchvision.transforms import v2

from labelkit.errors import first_line
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Targets = TypeVar("Targets", torch.Tensor, SparseProbabilities)


def mix(
    mixer: Callable[..., Any], images: torch.Tensor, targets: Targets
) -> tuple[torch.Tensor, Targets]:
    """Mix a batch of images, and their soft targets in the same proportions.

    Draws, pairs and pixels are those of the mixer. Timm's ``label_smoothing``, 0.1 by default, is
    applied: each mixed target moves that far towards the uniform distribution.

    Args:
        mixer: torchvision's ``v2.CutMix`` or ``v2.MixUp``, a container of them such as
            ``v2.RandomChoice``, or ``timm.data.Mixup`` with any arguments. Timm's writes into
            ``images``.
        images: (B, 3, H, W).
        targets: dense (B, C), or sparse; mixing doubles the number of sparse entries. Each row sums
            to one, or to less where ``TargetOptions(other="weight")`` leaves out a part.

    Returns:
        The mixed images, and targets of the same type as those given.

    Raises:
        TypeError: the mixer or the targets are of an unsupported type.
        ValueError: the targets are class indices; their number is not that of the images, or is
            odd, which timm cannot mix; or the mixer was built for another number of classes.
            Sparse targets do not store their number of classes, so it is checked against the
            classes listed and the sums of the rows. The check cannot notice a difference if almost
            nothing is left for the classes that are not listed.

    Source: Zhang et al. 2018 (arXiv 1710.09412); Yun et al. 2019 (arXiv 1905.04899).
    """
    _require_soft(targets)
    _require_mixable(mixer, images, targets)
    smoothing, classes = _smoothing(mixer)
    if isinstance(targets, SparseProbabilities):
        _require_fitting(mixer, targets)
        identity = torch.eye(len(images), device=images.device)
        images, shares = _call(mixer, images, identity)
        mixed = _mix_sparse(targets, shares.to(targets.excess.dtype))
        if smoothing:
            mixed = SparseProbabilities(
                mixed.classes,
                mixed.excess * (1 - smoothing),
                mixed.rest * (1 - smoothing) + smoothing / classes,
            )
        return images, mixed
    _require_class_count(mixer, targets.shape[1])
    images, mixed = _call(mixer, images, targets)
    return images, mixed * (1 - smoothing) + smoothing / classes if smoothing else mixed


def require_soft_mixing(mixer: object, num_classes: int) -> None:
    """Refuse a mixer that would corrupt soft targets (B, C) when called directly, without ``mix``.

    Raises:
        ValueError: a mixer of timm that treats targets as class indices, or smooths each class
            towards one half, as for independent labels; or any mixer that was built for another
            number of classes.
    """
    _require_class_count(mixer, num_classes)
    if not _is_from_timm(mixer):
        return
    if not getattr(mixer, "multi_label", False):
        raise ValueError(
            f"timm's {type(mixer).__name__} treats soft targets as class indices and returns wrong "
            "targets: build it with multi_label=True and label_smoothing=0"
            + ("" if _collates(mixer) else ", or call labelkit.data.mix(mixer, images, targets)")
        )
    if _smoothing(mixer)[0]:
        raise ValueError(
            f"timm's {type(mixer).__name__} with label_smoothing={_smoothing(mixer)[0]} adds half "
            "of that to every class, so soft targets no longer sum to one: set it to 0, or call "
            "labelkit.data.mix(mixer, images, targets)"
        )


def _require_class_count(mixer: object, num_classes: int) -> None:
    """Refuse a mixer that was built for another number of classes.

    Raises:
        ValueError: the numbers differ; the message gives both.
    """
    for name, expected in _built_for(mixer):
        if expected != num_classes:
            raise ValueError(
                f"{name} was built for {expected} classes, but the targets have {num_classes}: "
                f"build it with num_classes={num_classes}"
            )


def _require_fitting(mixer: object, targets: SparseProbabilities) -> None:
    """Refuse a mixer for another number of classes, as far as sparse targets show it."""
    tolerance = max(1e-4, 4 * torch.finfo(targets.excess.dtype).eps)
    for name, expected in _built_for(mixer) if targets.classes.numel() else ():
        highest = int(targets.classes.max())
        sums = targets.excess.float().sum(1) + targets.rest.float() * expected
        worst = float(sums[(sums - 1).abs().argmax()])
        # Targets without the probability of *other* sum to less, but list the last class.
        weighted = highest == expected - 1 and float(sums.max()) <= 1 + tolerance
        if highest >= expected or (abs(worst - 1) > tolerance and not weighted):
            raise ValueError(
                f"{name} was built for {expected} classes, which does not match the targets: they "
                f"list class {highest}, and a row sums to {worst:.4f}, expected 1. Build it with "
                "num_classes set to the number of classes of the label maps"
            )


def _require_soft(targets: object) -> None:
    """Refuse anything but a batch of soft targets.

    Raises:
        TypeError: neither a tensor nor ``SparseProbabilities``.
        ValueError: class indices.
    """
    if isinstance(targets, SparseProbabilities):
        return
    if not isinstance(targets, torch.Tensor):
        raise TypeError(
            f"targets are of type {type(targets).__name__}, expected a tensor (B, C) or "
            "SparseProbabilities. With tokens= a data set yields two targets per image, and token "
            "targets cannot be mixed: turn tokens off"
        )
    if targets.ndim != 2 or not targets.is_floating_point():
        raise ValueError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}, expected soft targets: "
            "floats (B, C). Class indices need no mix(): call the mixer directly"
        )


def _require_mixable(
    mixer: object, images: torch.Tensor, targets: torch.Tensor | SparseProbabilities
) -> None:
    """Refuse a batch that the mixer would fail on.

    Raises:
        ValueError: images and targets differ in number, or timm's mixer gets an odd number.
    """
    count = len(targets.rest if isinstance(targets, SparseProbabilities) else targets)
    if len(images) != count:
        raise ValueError(f"got {len(images)} images and {count} targets, expected one for each")
    if _is_from_timm(mixer) and count % 2:
        raise ValueError(
            f"timm's {type(mixer).__name__} mixes pairs of images, and the batch has {count}: use "
            "an even batch_size with drop_last=True in the loader, or torchvision's v2.MixUp and "
            "v2.CutMix"
        )


def _call(
    mixer: Callable[..., Any], images: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix images and dense targets (B, columns).

    Raises:
        ValueError: timm asserts something of the mixer, such as that it has an alpha.
    """
    try:
        return _for_columns(mixer, targets.shape[1])(images, targets)
    except AssertionError as error:
        raise ValueError(f"{type(mixer).__name__} cannot mix: {first_line(error)}") from error


def _built_for(mixer: object) -> Iterator[tuple[str, int]]:
    """The name and number of classes of each mixer, and of those inside it, that has one."""
    for inner in getattr(mixer, "transforms", ()):
        yield from _built_for(inner)
    expected = getattr(mixer, "num_classes", None)
    if expected is not None:
        yield type(mixer).__name__, expected


def _mix_sparse(targets: SparseProbabilities, shares: torch.Tensor) -> SparseProbabilities:
    """``shares @ targets``, where each row of ``shares`` (B, B) has few nonzero entries."""
    partners = int((shares > 0).sum(1).max())
    weight, partner = shares.topk(partners, dim=1)
    return SparseProbabilities(
        targets.classes[partner].flatten(1),
        (targets.excess[partner] * weight[..., None]).flatten(1),
        (targets.rest[partner] * weight).sum(1),
    )


def _for_columns(mixer: Any, columns: int) -> Callable[..., Any]:  # noqa: ANN401
    """A copy of the mixer that takes soft targets (B, columns) and leaves them unsmoothed."""
    fitting = copy.copy(mixer)
    if _is_from_timm(mixer) and hasattr(mixer, "multi_label") and not _collates(mixer):
        fitting.num_classes, fitting.multi_label, fitting.label_smoothing = columns, True, 0.0
    elif isinstance(mixer, (v2.CutMix, v2.MixUp)):
        fitting.num_classes = None
    elif isinstance(mixer, (v2.RandomChoice, v2.RandomApply, v2.RandomOrder, v2.Compose)):
        fitting.transforms = [_for_columns(inner, columns) for inner in mixer.transforms]
    elif not isinstance(mixer, v2.Identity):
        raise TypeError(
            f"{type(mixer).__module__}.{type(mixer).__name__} cannot mix soft targets: use "
            "torchvision's v2.CutMix and v2.MixUp, or timm.data.Mixup from a version of timm that "
            "has multi_label"
        )
    return fitting


def _smoothing(mixer: Any) -> tuple[float, int]:  # noqa: ANN401
    """The label smoothing of timm's mixer, and its number of classes."""
    return (mixer.label_smoothing, mixer.num_classes) if _is_from_timm(mixer) else (0.0, 0)


def _is_from_timm(mixer: object) -> bool:
    """Whether it is timm's ``Mixup`` or a subclass; timm is never imported to find out."""
    return any(
        kind.__module__ == "timm.data.mixup" and kind.__name__ == "Mixup"
        for kind in type(mixer).__mro__
    )


def _collates(mixer: object) -> bool:
    """Whether it is timm's ``FastCollateMixup``, which takes a list of samples, not a batch."""
    return any(kind.__name__ == "FastCollateMixup" for kind in type(mixer).__mro__)
