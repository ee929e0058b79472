"""A study of a few seconds: two rates, with and without smoothing, on coloured squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """\
title = "Rates"
claim = "None."
recipe = "recipe.toml"
seeds = [0, 1]
[axes.lr]
"0.001" = ["optimizer.lr=1e-3"]
"0.003" = ["optimizer.lr=3e-3"]
[axes.smoothing]
none = []
"10 %" = ["labels.label_smoothing=0.1"]
[plot]
x = "lr"
lines = "smoothing"
"""

STAGES = """\
title = "Fine-tuning"
claim = "None."
seeds = [0]
[[stages]]
name = "pretrain"
recipe = "recipe.toml"
axes = ["start"]
[[stages]]
name = "tune"
recipe = "recipe.toml"
axes = ["lr"]
[axes.start]
scratch = "skip"
smooth = ["labels.label_smoothing=0.1"]
[axes.lr]
"0.001" = ["optimizer.lr=1e-3"]
"0.003" = ["optimizer.lr=3e-3"]
"""


def write_study(folder: Path, photos: Path, text: str = STUDY, *, epochs: int = 1) -> Path:
    """A folder with ``study.toml`` and its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(text)
    (folder / "recipe.toml").write_text(recipe_text(photos, epochs=epochs))
    return folder
