"""The semantic losses and accuracy as plain loops over samples, levels and classes.

Written from the formulas: no tensors, no tables, Python floats (double precision) throughout.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.oracles.forests import chain_of, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows = list[list[float]]


def log_softmax(values: Sequence[float]) -> list[float]:
    """Log-probabilities of one row."""
    largest = max(values)
    log_sum = largest + math.log(sum(math.exp(value - largest) for value in values))
    return [value - log_sum for value in values]


def soft_target_cross_entropy(logits: Rows, target: Rows) -> float:
    """Mean over the rows of -sum_c target * log p."""
    total = 0.0
    for row, row_target in zip(logits, target, strict=True):
        for share, log_probability in zip(row_target, log_softmax(row), strict=True):
            total -= share * log_probability
    return total / len(logits)


def paper_weights(parents: Sequence[int]) -> list[float]:
    """O_k = min(20, all classes / classes at depth k or deeper)."""
    sizes = [len(level) for level in levels_of(parents)]
    weights: list[float] = []
    for level in range(len(sizes)):
        deeper = sum(sizes[level:])
        weights.append(min(20.0, sum(sizes) / deeper))
    return weights


def semantic_softmax(
    parents: Sequence[int],
    logits: Rows,
    targets: Sequence[int],
    *,
    label_smoothing: float,
    weights: Sequence[float],
) -> float:
    """sum_k O_k (1/B) sum_b [t_bk exists] (-(1-e) log p[t] - (e/N) sum_c log p[c]).

    A level with weight 0 does not count.
    """
    levels = levels_of(parents)
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        chain = chain_of(parents, target)
        for depth, classes in enumerate(levels):
            if depth >= len(chain):
                continue
            log_probability = log_softmax([row[c] for c in classes])
            hit = log_probability[classes.index(chain[depth])]
            mean = sum(log_probability) / len(classes)
            total -= weights[depth] * ((1 - label_smoothing) * hit + label_smoothing * mean)
    return total / len(logits)


def semantic_distillation(
    parents: Sequence[int], student: Rows, teacher: Rows, *, skip_deepest: bool = False
) -> float:
    """Sum over levels and samples of c_bk * ||pS - pT||^2."""
    levels = levels_of(parents)
    used = len(levels) - 1 if skip_deepest else len(levels)
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        for classes in levels[:used]:
            student_p = [math.exp(p) for p in log_softmax([student_row[c] for c in classes])]
            teacher_p = [math.exp(p) for p in log_softmax([teacher_row[c] for c in classes])]
            confidence = sum(sorted(teacher_p)[-math.ceil(len(classes) / 20) :])
            pairs = zip(student_p, teacher_p, strict=True)
            total += confidence * sum((s - t) ** 2 for s, t in pairs)
    return total


def semantic_hits(parents: Sequence[int], logits: Rows, targets: Sequence[int]) -> tuple[int, int]:
    """Correct and valid (sample, level) pairs."""
    correct = valid = 0
    for row, target in zip(logits, targets, strict=True):
        chain = chain_of(parents, target)
        for classes, member in zip(levels_of(parents), chain, strict=False):
            best = max(classes, key=lambda c: row[c])
            correct += best == member
            valid += 1
    return correct, valid


def top_k_hits(logits: Rows, targets: Sequence[int], k: int) -> int:
    """Samples whose class is among the k highest logits."""
    hits = 0
    for row, target in zip(logits, targets, strict=True):
        ranking = sorted(range(len(row)), key=lambda c: -row[c])
        hits += target in ranking[:k]
    return hits
