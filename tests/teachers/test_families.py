"""The table of families is measured: one member of each, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from labelkit.errors import TeacherError
from labelkit.teachers import EXACT_GAP, check, read_families
from tests.teachers.support import random_teacher

FAMILIES = read_families()
REFUSED = [row for row in FAMILIES if row.verdict == "refused"]
MAPPED = [row for row in FAMILIES if row.verdict != "refused"]
TOKENS = [
    "beit_base_patch16_224",
    "eva02_small_patch14_336",
    "gmlp_ti16_224",
    "hiera_tiny_224",
    "mvitv2_tiny",
    "sequencer2d_s",
    "swin_tiny_patch4_window7_224",
    "twins_svt_small",
    "vit_medium_patch16_gap_256",
    "vitamin_small_224",
]
# One is built for 7x7 cells only, one always fuses its stages at 16x16; the rest do not pad edges.
OTHER_GRID = ("efficientformer_l1", "mobilenetv5_base", "vgg11", "inception_v3", "inception_v4")


def test_the_table_lists_at_least_sixty_exact_models_of_eighty_families():
    models = [row.model for row in FAMILIES]
    assert len(set(models)) == len(models)
    assert all(row.model in timm.list_models(module=row.family) for row in FAMILIES)
    assert sum(row.verdict == "exact" for row in FAMILIES) >= 60
    assert len({row.family for row in FAMILIES}) >= 80


@pytest.mark.parametrize("row", MAPPED, ids=lambda row: row.model)
def test_a_family_is_as_exact_as_the_table_says(row):
    """There is nothing in between: exact gaps are rounding, others are as large as the scores."""
    teacher = random_teacher(row.model, size=row.size)
    found = check(teacher)
    assert (found.gap < EXACT_GAP) == (row.verdict == "exact")
    assert found.gap < EXACT_GAP / 10 or found.gap > 100 * EXACT_GAP
    assert found.reason == row.reason
    assert min(found.grid) > 1
    assert abs(row.size_15x15 / found.stride - 15) < 3 or row.model in OTHER_GRID


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.model)
def test_a_family_without_positions_is_refused(row):
    teacher = random_teacher(row.model, size=row.size)
    with pytest.raises(TeacherError, match=r"no spatial grid\. Use an? .*, such as") as error:
        check(teacher)
    assert ("class token" in str(error.value)) == (row.reason == "predicts from its class token")


@pytest.mark.parametrize("model", TOKENS)
def test_tokens_are_at_the_position_of_their_pixels(model):
    """A change in one corner of the image changes the scores there more than elsewhere."""
    size = 112 if "patch14" in model else 128
    teacher = random_teacher(model, size=size)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, size, size, generator=generator)
    before, quarter = teacher.logits_map(image), size // 4
    for rows in (slice(0, quarter), slice(-quarter, None)):
        for columns in (slice(0, quarter), slice(-quarter, None)):
            other = image.clone()
            other[..., rows, columns] *= -2
            change = (teacher.logits_map(other) - before).square().sum(dim=(0, 1))
            from_top = change.flipud() if rows.start else change
            corner = from_top.fliplr() if columns.start else from_top
            half = change.shape[0] // 2
            assert corner[:half].sum() > corner[-half:].sum()
            assert corner[:, :half].sum() > corner[:, -half:].sum()


def test_the_readme_shows_the_table():
    """If this fails, copy the lines of the table into teachers/README.md."""
    readme = (Path(__file__).parents[2] / "teachers" / "README.md").read_text()
    for row in FAMILIES:
        facts = (row.family, f"`{row.model}`", row.verdict, row.reason, str(row.size_15x15 or ""))
        assert f"| {' | '.join(facts)} |" in readme
