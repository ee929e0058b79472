"""The types of a recipe's fields, and the base of its tables. Loads no tensors."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Smoothing = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
CountFromZero = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Workers = Annotated[int, msgspec.Meta(ge=0, le=1024)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Side = Annotated[int, msgspec.Meta(ge=8, le=4096)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
LevelWeights = Literal["paper", "uniform"] | tuple[float, ...]


class RecipeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the TOML file; paths are relative to the current directory."""
