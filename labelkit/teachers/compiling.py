"""A teacher's features, compiled: the same numbers up to rounding, in less time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch._dynamo import maybe_mark_dynamic  # there is no public name for it

from labelkit.errors import TeacherError, first_line
from labelkit.teachers.split import split

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def compile_features(model: nn.Module, name: str) -> Callable[[Tensor], object]:
    """A model's features, compiled at the first images of each size, for batches of any length.

    Args:
        model: a ``SplitModel``, on its device and in eval mode.
        name: what errors call it.

    Returns:
        Images (B, 3, S, S) to what the model's own features give. It raises what the model does
        for images that it does not take, and TeacherError where there is no working compiler.

    Raises:
        TeacherError: the model has no ``forward_features`` and ``forward_head``.
    """
    plain = split(model).features
    compiled = torch.compile(plain)

    def features(images: Tensor) -> object:
        # What differs is compiled anew: a length of 1, one that is not marked, another memory
        # order, and a tensor from outside of inference mode. A copy has all of them alike.
        several = images.expand(max(len(images), 2), -1, -1, -1)
        several = several.clone(memory_format=torch.channels_last)
        maybe_mark_dynamic(several, 0)
        try:
            found = compiled(several)
        except RuntimeError as error:
            plain(images)
            raise TeacherError(
                f"{name} cannot be compiled here ({first_line(error)}): leave out --compile, or "
                "install a C++ compiler if there is none"
            ) from error
        return found[: len(images)] if isinstance(found, torch.Tensor) else found

    return features
