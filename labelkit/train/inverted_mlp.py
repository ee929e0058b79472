"""A plain MLP over the pixels of an image, which timm does not have: ``inverted_mlp``.

# B batch, S image side, D width
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.models
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

# timm's packages export these without declaring it to type checkers.
_models: Any = timm.models

default_cfgs = _models.generate_default_cfgs(
    {
        "inverted_mlp": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 64, 64),
            "fixed_input_size": True,
            "pool_size": None,
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": None,
            "classifier": "head",
            "license": "apache-2.0",
        }
    }
)


class InvertedBlock(nn.Module):
    """A residual block that widens and narrows again: ``x + W2 gelu(W1 norm(x))``.

    Args:
        width: D.
        expansion: the inner width, in multiples of D.
    """

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))


class InvertedMlp(nn.Module):
    """An MLP that sees an image as a vector of its values, without patches or convolutions.

    Args:
        num_classes: C outputs.
        img_size: S, in pixels, or height and width.
        in_chans: of the image.
        width: D.
        depth: number of blocks.
        expansion: the inner width of a block, in multiples of D.
        drop_rate: of the dropout before the classifier.

    Source: Bachmann et al. 2023, "Scaling MLPs: A Tale of Inductive Bias" (arXiv 2306.13575),
    section 3, the inverted bottleneck MLP: B-6/Wi-1024 has depth 6 and width 1024.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- timm's names for a model's arguments
        self,
        num_classes: int = 1000,
        img_size: int | tuple[int, int] = 64,
        in_chans: int = 3,
        width: int = 1024,
        depth: int = 6,
        expansion: int = 4,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, width
        self.head_hidden_size = width
        height, wide = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.embed = nn.Linear(in_chans * height * wide, width)
        self.blocks = nn.Sequential(*(InvertedBlock(width, expansion) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(drop_rate)
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The last layer, by timm's name."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """A new last layer, by timm's name."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, D)."""
        return self.norm(self.blocks(self.embed(x.flatten(1))))

    def forward_head(self, x: Tensor, *, pre_logits: bool = False) -> Tensor:
        """(B, D) to logits (B, C)."""
        x = self.dropout(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to logits (B, C)."""
        return self.forward_head(self.forward_features(x))


@_models.register_model
def inverted_mlp(*, pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ANN401 -- of the model
    """B-6/Wi-1024 unless ``width``, ``depth`` or ``expansion`` say otherwise; no weights exist."""
    return _models.build_model_with_cfg(InvertedMlp, "inverted_mlp", pretrained, **kwargs)
