"""Distillation and the hierarchical losses as plain loops over samples, classes and nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.oracles.forests import chain_of
from tests.oracles.semantic_losses import Rows, log_softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def divergence(student: Rows, teacher: Rows, temperature: float) -> float:
    """T^2 times the mean over the rows of sum_c p_T (log p_T - log p_S), both at T."""
    total = 0.0
    for row, teacher_row in zip(student, teacher, strict=True):
        log_student = log_softmax([logit / temperature for logit in row])
        log_teacher = log_softmax([logit / temperature for logit in teacher_row])
        total += sum(math.exp(t) * (t - s) for t, s in zip(log_teacher, log_student, strict=True))
    return temperature**2 * total / len(student)


def spread_out(listed: Mapping[int, float], log_sum_exp: float, classes: int) -> list[float]:
    """A teacher's logits (up to a constant), the remaining mass spread evenly over the others."""
    probability = {child: math.exp(logit - log_sum_exp) for child, logit in listed.items()}
    left = 1 - sum(probability.values())
    others = classes - len(listed)
    return [
        math.log(probability[child]) if child in listed else math.log(left / others)
        for child in range(classes)
    ]


def node_probability(parents: Sequence[int], row: Mapping[int, float], node: int) -> float:
    """The sum of the softmax over the leaves whose chain contains the node."""
    leaves = list(row)
    log_probability = dict(zip(leaves, log_softmax([row[leaf] for leaf in leaves]), strict=True))
    return sum(
        math.exp(log_probability[leaf]) for leaf in leaves if node in chain_of(parents, leaf)
    )


def height_of(parents: Sequence[int], node: int) -> int:
    """Steps down to the deepest leaf below."""
    children = [child for child, parent in enumerate(parents) if parent == node]
    return 1 + max(height_of(parents, child) for child in children) if children else 0


def chain_cross_entropy(
    parents: Sequence[int],
    rows: Sequence[Mapping[int, float]],
    targets: Sequence[int],
    weight_of: Mapping[int, float],
) -> float:
    """Mean over the rows of sum over the chain of weight * -log P(node)."""
    total = 0.0
    for row, target in zip(rows, targets, strict=True):
        for node in chain_of(parents, target):
            total -= weight_of[node] * math.log(node_probability(parents, row, node))
    return total / len(rows)


def hierarchical_cross_entropy(
    parents: Sequence[int],
    rows: Sequence[Mapping[int, float]],
    targets: Sequence[int],
    alpha: float,
) -> float:
    """Mean over the rows of the sum over the edges from the origin down to the target.

    As the authors' code: an edge weighs exp(-alpha * its number), counted from the origin, and
    costs -log P(lower node) / P(upper node). The origin is the root, or a node above several roots.
    """
    has_origin = sum(parent < 0 for parent in parents) == 1
    total = 0.0
    for row, target in zip(rows, targets, strict=True):
        path = chain_of(parents, target)[1 if has_origin else 0 :]
        upper = 1.0
        for number, node in enumerate(path, start=1):
            lower = node_probability(parents, row, node)
            total += math.exp(-alpha * number) * -math.log(lower / upper)
            upper = lower
    return total / len(rows)
