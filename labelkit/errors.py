"""What can go wrong with a user's files and data. Every message says what was found and what to do.

Wrong arguments to a function are ``ValueError``; these are for files, recipes, models and data.
"""

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on a CPU, or a device's.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("a shape"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in _MEMORY_WORDS)


def is_machine_failure(error: BaseException) -> bool:
    """Whether torch raised an error for the machine's sake, wherever the code happened to be.

    Memory ran out, or a data-loading worker was killed: neither says anything about a model.
    """
    return is_out_of_memory(error) or "DataLoader worker" in str(error)


class LabelkitError(Exception):
    """Any failure that labelkit itself explains; the command line prints it in one line."""


class ClassListError(LabelkitError):
    """A class list cannot be read, repeats an id, or names an id that nothing knows."""


class ClassListMismatch(ClassListError):  # noqa: N818 -- the name states the fact
    """Two things that must share one class list do not."""


class TaxonomyError(LabelkitError):
    """A child -> parents graph is broken: a cycle, an unknown id, a damaged noun graph."""


class TreeFileError(LabelkitError):
    """A tree file is damaged or of a version that this code does not know."""


class DatasetError(LabelkitError):
    """A folder holds no images, or an image that was asked for cannot be read."""


class DeviceError(LabelkitError):
    """Torch cannot use the named device on this machine."""


class TeacherError(LabelkitError):
    """A teacher is unknown, its weights do not fit, or it has no spatial grid."""


class LabelMapError(LabelkitError):
    """A label-map file is damaged, incomplete, or lacks the key that was asked for."""


class RecipeError(LabelkitError):
    """A training recipe has an unknown field, a wrong value, or names what does not exist."""


class TrainingError(LabelkitError):
    """Training cannot go on: a loss that is not finite, a checkpoint damaged or of another run."""
