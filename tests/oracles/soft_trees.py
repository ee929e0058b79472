"""Probabilities as targets for a tree: plain loops over samples, nodes and classes.

Each loss is written as the meaning of a soft target: its mean over classes that are drawn with the
target's probabilities. Distillation, which is not linear in the target, follows its definition.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.oracles import distillation, semantic_losses
from tests.oracles.forests import chain_of, levels_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.oracles.semantic_losses import Rows


def semantic_softmax(
    parents: Sequence[int],
    logits: Rows,
    target: Rows,
    *,
    label_smoothing: float,
    weights: Sequence[float],
) -> float:
    """The mean over the rows of sum_c target[c] * the loss with class c as the target."""
    total = 0.0
    for row, shares in zip(logits, target, strict=True):
        for child, share in enumerate(shares):
            total += share * semantic_losses.semantic_softmax(
                parents, [row], [child], label_smoothing=label_smoothing, weights=weights
            )
    return total / len(logits)


def hierarchical_cross_entropy(
    parents: Sequence[int],
    rows: Sequence[Mapping[int, float]],
    target: Sequence[Mapping[int, float]],
    alpha: float,
) -> float:
    """The mean over the rows of sum over the leaves of target * the loss with that leaf."""
    total = 0.0
    for row, shares in zip(rows, target, strict=True):
        for leaf, share in shares.items():
            total += share * distillation.hierarchical_cross_entropy(parents, [row], [leaf], alpha)
    return total / len(rows)


def chain_cross_entropy(
    parents: Sequence[int],
    rows: Sequence[Mapping[int, float]],
    target: Sequence[Mapping[int, float]],
    weight_of: Mapping[int, float],
) -> float:
    """The mean over the rows of sum over the leaves of target * the loss with that leaf."""
    total = 0.0
    for row, shares in zip(rows, target, strict=True):
        for leaf, share in shares.items():
            total += share * distillation.chain_cross_entropy(parents, [row], [leaf], weight_of)
    return total / len(rows)


def node_probability(parents: Sequence[int], shares: Sequence[float], node: int) -> float:
    """The sum over the classes whose chain contains the node."""
    return sum(share for child, share in enumerate(shares) if node in chain_of(parents, child))


def semantic_distillation(parents: Sequence[int], student: Rows, target: Rows) -> float:
    """Sum over levels and rows of c ||pS - pT||^2, for a teacher's probabilities of the classes."""
    total = 0.0
    for row, shares in zip(student, target, strict=True):
        for classes in levels_of(parents):
            of_nodes = [node_probability(parents, shares, node) for node in classes]
            reached = sum(of_nodes)
            if reached == 0:
                continue
            student_p = [
                math.exp(p) for p in semantic_losses.log_softmax([row[c] for c in classes])
            ]
            confidence = sum(sorted(of_nodes)[-math.ceil(len(classes) / 20) :])
            pairs = zip(student_p, of_nodes, strict=True)
            total += confidence * sum((s - q / reached) ** 2 for s, q in pairs)
    return total
