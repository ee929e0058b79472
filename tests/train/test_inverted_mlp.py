"""The plain MLP: against its definition, and as one of timm's models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch
from torch.nn.functional import gelu, layer_norm

from labelkit.train import load_classifier, read_recipe, train
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

_timm: Any = timm
SMALL = {"img_size": 8, "width": 6, "depth": 2, "expansion": 3}


def test_it_is_what_the_paper_writes() -> None:
    """Section 3: z + W2 gelu(W1 LN(z)) for each block, then a linear classifier."""
    torch.manual_seed(0)
    model = _timm.create_model("inverted_mlp", num_classes=4, **SMALL).eval()
    weights = {name: each.double() for name, each in model.state_dict().items()}
    image = torch.randn(5, 3, 8, 8)
    z = image.double().reshape(5, 192) @ weights["embed.weight"].T + weights["embed.bias"]
    for block in range(2):
        norm, wide, narrow = (
            (weights[f"blocks.{block}.{part}.weight"], weights[f"blocks.{block}.{part}.bias"])
            for part in ("norm", "wide", "narrow")
        )
        inner = gelu(layer_norm(z, (6,), *norm) @ wide[0].T + wide[1])
        assert inner.shape == (5, 18)
        z = z + inner @ narrow[0].T + narrow[1]
    z = layer_norm(z, (6,), weights["norm.weight"], weights["norm.bias"])
    expected = z @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(model(image).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_run_of_it_is_loaded_by_labelkit_and_fine_tuned(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=1))
    model = (
        *("model.name=inverted_mlp", "data.image_size=32"),
        "model.kwargs={img_size=32, width=16, depth=1, drop_rate=0.1}",
    )
    first = train(read_recipe(tmp_path / "r.toml", [*model, f"run.output={tmp_path / 'a'}"]))
    assert load_classifier(first.output, device="cpu").model.embed.weight.shape == (16, 3072)
    again = [*model, f"run.output={tmp_path / 'b'}", f"model.init={first.output}"]
    assert train(read_recipe(tmp_path / "r.toml", again)).records
    timm_model = _timm.create_model(f"local-dir:{first.output}", pretrained=True)
    assert timm_model.num_classes == 3
