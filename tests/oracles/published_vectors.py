"""Numbers computed with the published semantic-softmax code, and their inputs.

The vectors are outside the repository, in ``shared/vectors`` next to the checkout; tests that need
them are skipped if they are absent. The file describes how they were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "semantic_softmax_fall11.json"

needs_vectors = pytest.mark.skipif(
    not VECTORS.exists(), reason="shared/vectors/semantic_softmax_fall11.json is missing"
)


@dataclass(frozen=True)
class PublishedCase:
    """One case: inputs drawn from its seed, and the published numbers."""

    expected: dict[str, Any]
    student: Tensor
    teacher: Tensor
    target: Tensor


@cache
def fall11_tree() -> SemanticTree:
    """The tree of the 11,221 classes."""
    return SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())


def published_case(number: int) -> PublishedCase:
    """The case with this number in the file."""
    expected = json.loads(VECTORS.read_text())["cases"][number]
    generator = np.random.default_rng(expected["seed"])
    shape = (expected["batch"], expected["classes"])
    student, teacher = (
        (generator.standard_normal(shape) * expected["scale"]).astype(np.float32) for _ in range(2)
    )
    target = generator.integers(0, expected["classes"], expected["batch"])
    return PublishedCase(
        expected, torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(target)
    )
