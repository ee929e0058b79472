"""Errors in a user's files, recipes, models and data; each message says what to do next.

A wrong argument to a function is a ``ValueError`` instead.
"""

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, or the error's type if it has none.

    It may quote a file, so control characters, which could steer a terminal, are replaced.
    """
    lines = str(error).strip().splitlines()
    line = lines[0][:300] if lines else type(error).__name__
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


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


def why_stopped(error: BaseException) -> str:
    """What an error that ends a run means: a worker was killed, memory ran out, or its first line.

    >>> why_stopped(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    'a data-loading worker was killed, most likely by the system because memory ran out'
    """
    lost = "DataLoader worker" in str(error) or isinstance(error, (ConnectionError, EOFError))
    if lost and "Bus error" in str(error):
        return "a data-loading worker was killed because shared memory (/dev/shm) is full"
    if lost:
        return "a data-loading worker was killed, most likely by the system because memory ran out"
    if is_out_of_memory(error):
        return f"memory ran out ({first_line(error)})"
    return first_line(error)


class LabelkitError(Exception):
    """Any failure that labelkit explains; the command line prints it as one line."""


class ClassListError(LabelkitError):
    """A class list cannot be read, has a duplicate id, or has an unknown id."""


class ClassListMismatch(ClassListError):  # noqa: N818 -- the name states the fact
    """Two artifacts that must share a class list have different ones."""


class TaxonomyError(LabelkitError):
    """A child -> parents graph is invalid: a cycle, an unknown id, a damaged noun graph."""


class TreeFileError(LabelkitError):
    """A tree file is damaged or of an unknown version."""


class CoarseningFileError(LabelkitError):
    """A coarsening file is damaged or of an unknown version."""


class DatasetError(LabelkitError):
    """A folder has no images, or an image cannot be read."""


class PrepareError(LabelkitError):
    """A class dump cannot be prepared: its class names, its tars, or another run's output."""


class DeviceError(LabelkitError):
    """Torch cannot use the named device on this machine."""


class TeacherError(LabelkitError):
    """A teacher is unknown, its weights do not match the model, or it has no spatial grid."""


class LabelMapError(LabelkitError):
    """A label-map file is damaged or incomplete, or has no such key."""


class StudyError(LabelkitError):
    """A study's file or its results are invalid, or what was asked of it does not exist."""


class RecipeError(LabelkitError):
    """A training recipe has an unknown field, an invalid value, or a missing file."""


class TrainingError(LabelkitError):
    """Training cannot continue: a non-finite loss, a damaged checkpoint, or another run's."""
