"""A temperature must be one that float32, in which logits are divided, can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelkit.targets import SparseLogits, SparseLogitsBatch, TokenLogits

ONE = np.array([1])
TARGETS = {
    "crop": SparseLogits(ONE, np.ones(1, np.float32)).probabilities,
    "tokens": TokenLogits(
        ONE, np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    ).probabilities,
    "batch": SparseLogitsBatch(torch.ones(1, 1).long(), torch.ones(1, 1), torch.zeros(1)).softmax,
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-46, 1e39, float("inf"), float("nan")])
def test_a_temperature_that_float32_rounds_to_0_or_infinity_is_refused(kind, temperature):
    with pytest.raises(
        ValueError, match=r"temperature is .*, expected a positive number that float32"
    ):
        TARGETS[kind](3, temperature)


@pytest.mark.parametrize("temperature", [1e-37, 1e38])
def test_extreme_temperatures_give_the_strongest_class_and_the_even_target(temperature):
    expected = [0, 1, 0] if temperature < 1 else [1 / 3] * 3
    assert TARGETS["crop"](3, temperature) == pytest.approx(expected)
    assert TARGETS["tokens"](3, temperature).ravel() == pytest.approx(expected)
    assert TARGETS["batch"](3, temperature).dense(3)[0].numpy() == pytest.approx(expected)
