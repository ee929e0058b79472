"""The weights that a student starts from: those of another run (``model.init``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelkit.errors import RecipeError
from labelkit.train.checkpoint import content_digest, not_finite
from labelkit.train.recipe import without_dotdot
from labelkit.train.run_folder import BEST
from labelkit.train.student import read_student
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from labelkit.hierarchy import ClassList


def load_starting_weights(student: nn.Module, init: str, classes: ClassList) -> str:
    """Give a student the weights of a run's best epoch.

    Its classifier gets them too if the run has the same class list, and else stays as it is.

    Args:
        student: a timm model; it is changed.
        init: the folder of the run, or its ``best.safetensors``.
        classes: the class list of the student's outputs.

    Returns:
        The digest of the run's weights.

    Raises:
        RecipeError: no such run, or its weights do not fit the student; the message names some.
        TrainingError: the file is damaged, or not from ``labelkit train``.
    """
    path = Path(without_dotdot(init))
    path = path / BEST if path.is_dir() else path
    try:
        metadata, weights = read_student(path)
    except FileNotFoundError:
        raise RecipeError(
            f"model.init is {init!r}, but there is no {path} (from {Path.cwd()}): name the folder "
            "of a run of labelkit train"
        ) from None
    if bad := not_finite(weights):
        raise RecipeError(f"model.init: the weights of {path} are not finite ({summary(bad)})")
    heads = () if metadata["classes_digest"] == classes.digest else _heads(student)
    start = {name: each for name, each in weights.items() if not name.startswith(heads)}
    missing = _misfits(student, start, heads)
    if missing:
        raise RecipeError(
            f"model.init: the weights of {path}, a {metadata.get('model', 'student')}, do not fit "
            f"model.name and model.kwargs ({summary(missing)}): use those of that run"
        )
    student.load_state_dict(start, strict=False)
    return content_digest(weights)


def _heads(student: nn.Module) -> tuple[str, ...]:
    """How the names of the classifier's weights begin; some students have two classifiers."""
    model: Any = student
    found = model.get_classifier()
    heads = found if isinstance(found, tuple) else (found,)
    return tuple(
        f"{name}."
        for name, module in student.named_modules()
        if any(module is each for each in heads)
    )


def _misfits(student: nn.Module, start: Mapping[str, Tensor], heads: tuple[str, ...]) -> list[str]:
    """The names of weights outside the classifier that one has and the other has not so."""
    needed = {
        name: each.shape
        for name, each in student.state_dict().items()
        if not name.startswith(heads)
    }
    given = {name: each.shape for name, each in start.items()}
    return [name for name in sorted(needed.keys() | given) if needed.get(name) != given.get(name)]
