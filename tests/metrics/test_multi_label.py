"""Accuracy with several correct classes and ImageNet's ReaL labels, against timm's count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from timm.data.real_labels import RealLabelsImagenet

from labelkit.metrics import MultiLabelAccuracy, multi_label_accuracy, real_labels


@given(
    rows=st.lists(
        st.tuples(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=3)), min_size=1
    ),
    k=st.integers(1, 4),
    split=st.integers(0, 5),
)
def test_equals_the_loops(rows: list[tuple[list[int], list[int]]], k: int, split: int) -> None:
    """As padded indices and as booleans, in one batch or two."""
    logits = torch.tensor([row for row, _ in rows], dtype=torch.float32)
    padded = torch.tensor([labels + [-1] * (3 - len(labels)) for _, labels in rows])
    booleans = torch.tensor([[child in labels for child in range(4)] for _, labels in rows])
    found = [
        any(sorted(row, reverse=True).index(row[child]) < k for child in labels)
        for row, labels in rows
        if labels
    ]
    for labels in (padded, booleans):
        metric = MultiLabelAccuracy(k)
        metric.update(logits[:split], labels[:split])
        metric.update(logits[split:], labels[split:])
        if found:
            assert metric.compute() == pytest.approx(100 * sum(found) / len(found))
        else:
            with pytest.raises(ValueError, match="no samples"):
                metric.compute()


def test_reset_forgets_all_counts() -> None:
    metric = MultiLabelAccuracy()
    metric.update(torch.eye(2), torch.tensor([[1], [0]]))
    metric.reset()
    metric.update(torch.eye(2), torch.tensor([[0], [0]]))
    assert metric.compute() == 50.0


def test_real_accuracy_equals_that_of_timm() -> None:
    """Random logits that favour one of the labels, so that some predictions are correct."""
    names = [f"ILSVRC2012_val_{number + 1:08d}.JPEG" for number in range(50_000)]
    theirs = RealLabelsImagenet(names)
    labels, ours = real_labels(), {1: MultiLabelAccuracy(1), 5: MultiLabelAccuracy(5)}
    generator = torch.Generator().manual_seed(0)
    for rows in labels[:2000].split(500):
        logits = torch.randn(len(rows), 1000, generator=generator)
        known = rows[:, 0].clamp(min=0)
        logits[torch.arange(len(rows)), known] += 3
        theirs.add_result(logits)
        for metric in ours.values():
            metric.update(logits, rows)
    assert 5 < ours[1].compute() < ours[5].compute() < 95
    for k, metric in ours.items():
        assert metric.compute() == pytest.approx(theirs.get_accuracy(k))


def test_real_labels() -> None:
    labels = real_labels()
    assert labels.shape[0] == 50_000
    assert labels.max() == 999
    assert labels[:3, :2].tolist() == [[-1, -1], [970, 795], [230, 231]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2).long(), r"logits \(2, 4\), labels \(2,\), expected \(B, C\) and \(B, M\)"),
        (torch.zeros(3, 1).long(), r"labels \(3, 1\)"),
        (torch.zeros(2, 3, dtype=torch.bool), "one boolean per class"),
        (torch.zeros(2, 1), r"labels must be integers or booleans, got torch\.float32"),
        (torch.tensor([[0], [4]]), "from 0 to 4, expected 0 to 3, or -1"),
        (torch.tensor([[0], [-2]]), "from -2 to 0"),
    ],
)
def test_wrong_labels(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multi_label_accuracy(torch.zeros(2, 4), labels)


def test_invalid_k() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        MultiLabelAccuracy(0)
    with pytest.raises(ValueError, match="k is 5, but the logits have 4 classes"):
        multi_label_accuracy(torch.zeros(2, 4), torch.zeros(2, 1).long(), k=5)
