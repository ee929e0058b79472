"""A recipe's labels in words. Loads no tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from labelkit.train.recipe_labels import (
    DistillationLabels,
    HardLabels,
    HierarchicalLabels,
    LabelMapLabels,
    MultiLabelLabels,
    SemanticSoftmaxLabels,
)

if TYPE_CHECKING:
    from labelkit.train.recipe import Mix, Recipe
    from labelkit.train.recipe_labels import Labels


def describe_labels(recipe: Recipe) -> str:
    """What the student learns from, as the end of a sentence."""
    return f"{_labels(recipe.labels)}{_mix(recipe.mix)}"


def _labels(labels: Labels) -> str:
    match labels:
        case HardLabels():
            return f"hard labels{_smoothing(labels.label_smoothing)}"
        case SemanticSoftmaxLabels():
            teacher = f" and semantic distillation from {labels.teacher}" if labels.teacher else ""
            smoothing = _smoothing(labels.label_smoothing)
            return f"semantic softmax on the tree {labels.tree}{smoothing}{teacher}"
        case HierarchicalLabels():
            return f"hierarchical cross-entropy on the tree {labels.tree}, alpha {labels.alpha:g}"
        case MultiLabelLabels():
            return f"each class and all above it in the tree {labels.tree}"
        case LabelMapLabels():
            return _label_maps(labels)
        case DistillationLabels():
            return (
                f"the live teacher {labels.teacher}{_original(labels.original)}, temperature "
                f"{labels.temperature:g}"
            )
        case _:
            assert_never(labels)


def _label_maps(labels: LabelMapLabels) -> str:
    tree = f", as semantic softmax on the tree {labels.tree}" if labels.tree else ""
    return (
        f"{labels.label} targets of the label maps {labels.maps}{_original(labels.original)}, "
        f"temperature {labels.temperature:g}{_smoothing(labels.label_smoothing)}{tree}"
    )


def _original(weight: float) -> str:
    return f" and {weight:g} of the original label" if weight else ""


def _smoothing(value: float) -> str:
    return f", label smoothing {value:g}" if value else ""


def _mix(mix: Mix) -> str:
    kinds = [
        f"{name} of alpha {alpha:g}"
        for name, alpha in (("MixUp", mix.mixup), ("CutMix", mix.cutmix))
        if alpha
    ]
    often = "" if mix.prob == 1 else f" with probability {mix.prob:g}"
    return f"; {' or '.join(kinds)}{often}" if kinds else ""
