"""The background against means taken class by class."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelkit.relabel.backgrounds import background_of


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 5))
def test_each_logit_is_the_mean_where_the_class_is_not_stored(seed, top_k, size):
    logits = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(seed))
    score, index = logits.topk(top_k, dim=1)
    background = background_of(logits, index, score, size)
    for image in range(2):
        means = logits[image].mean(dim=(1, 2))
        strongest = sorted(means.argsort(descending=True)[:size].tolist())
        assert background.classes[image].tolist() == strongest
        others = []
        for class_index in range(5):
            where = (index[image] != class_index).all(dim=0)
            absent = logits[image, class_index][where].tolist()
            if class_index in strongest:
                found = background.logits[image][strongest.index(class_index)]
                assert np.isclose(found, np.mean(absent) if absent else 0, atol=1e-5)
            else:
                others += absent
        assert np.isclose(background.rest[image], np.mean(others) if others else 0, atol=1e-5)
