"""A teacher's logits as those of coarser classes, against plain sums."""

from __future__ import annotations

import pytest
import torch

from labelkit.hierarchy import ClassList, Taxonomy, project
from labelkit.relabel.merging import MergeLogits

TAXONOMY = Taxonomy.from_parents({"pug": "dog", "lab": "dog", "manx": "cat", "car": None})
TEACHER = ClassList.of(["car", "pug", "manx", "dog", "lab"])


@pytest.mark.parametrize("shift", [0.0, -300.0, 300.0])
def test_probabilities_are_summed_without_overflow(shift: float) -> None:
    projection = project(TEACHER, ClassList.of(["cat", "dog"]), TAXONOMY)
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    merged = MergeLogits(projection, torch.device("cpu"))(logits + shift) - shift
    expected = torch.stack([logits[:, 2], logits[:, [1, 3, 4]].logsumexp(dim=1)], dim=1)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)
    # a class far below the others keeps its own score
    logits[:, 2] = -200
    merged = MergeLogits(projection, torch.device("cpu"))(logits)
    assert (merged[:, 0] == -200).all()


def test_one_class_each_is_taken_as_it_is() -> None:
    projection = project(TEACHER, ClassList.of(["lab", "car"]), TAXONOMY)
    logits = torch.randn(2, 5, 1, 1)
    merged = MergeLogits(projection, torch.device("cpu"))(logits)
    assert torch.equal(merged, logits[:, [4, 0]])
