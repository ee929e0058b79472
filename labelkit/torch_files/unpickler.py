"""Build the values of one pickle of ``torch.save`` from plain data, and refuse everything else.

``torch.load(weights_only=True)`` runs no code, but lets 1 kB ask for gigabytes. Here the values are
numbers, strings, lists, tuples, dicts, sets, dense tensors, ``argparse.Namespace`` and numpy
scalars (as Python's numbers): nothing takes more memory than the file that holds it.
"""

from __future__ import annotations

import math
import pickletools
import re
from argparse import Namespace
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from labelkit.wording import clipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEEPEST = 64  # levels of containers within containers
MARGIN = 1 << 20  # bytes that small files may exceed their size by, once unpacked


class TorchFileError(ValueError):
    """A file is not one that ``torch.save`` wrote, is damaged, or unpacks to more than it may."""


class ForeignObjectError(TorchFileError):
    """A file holds an object that is not plain data.

    Attributes:
        name: the object's type or function, with its module.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"holds {name}, expected plain data")
        self.name = name


@dataclass(frozen=True)
class StorageType:
    """A class such as ``torch.FloatStorage``; the untyped one has bytes."""

    dtype: torch.dtype
    itemsize: int


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers of one or more tensors: bytes (uint8), and their type."""

    content: Tensor
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class _Callable:
    """A type or a function that a pickle may call, under its name."""

    name: str
    call: Callable[..., object]


@dataclass
class _NumpyType:
    """A numpy dtype while its byte order is still to come."""

    code: str
    order: str = "="

    def scalar(self, content: bytes) -> object:
        """The number or string of these bytes."""
        if not re.fullmatch(r"[biufcUS]\d{1,9}", self.code) or self.order not in set("<>|="):
            raise ForeignObjectError(f"a numpy scalar of type {clipped(self.code)}")
        kind = np.dtype(self.code).newbyteorder(cast("Any", self.order))
        if kind.itemsize != len(content):
            raise TorchFileError("is damaged: a numpy scalar of another length")
        return np.frombuffer(content, kind)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as pickles for Python 2 spell them."""
    if encoding != "latin1":
        raise ForeignObjectError("_codecs.encode to another encoding than latin1")
    return text.encode("latin-1")


def _numpy_type(code: str, *_: object) -> _NumpyType:
    return _NumpyType(code)


def _scalar(kind: _NumpyType, content: bytes) -> object:
    return kind.scalar(content)


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


_CALLS: dict[str, Callable[..., object]] = {
    "collections OrderedDict": OrderedDict,
    "collections Counter": Counter,
    "builtins set": set,
    "__builtin__ set": set,
    "builtins bytes": lambda: b"",
    "__builtin__ bytes": lambda: b"",
    "builtins complex": complex,
    "__builtin__ complex": complex,
    "_codecs encode": _encode,
    "argparse Namespace": Namespace,
    "numpy dtype": _numpy_type,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "torch Size": tuple,
    "torch device": lambda kind, index=None: kind if index is None else f"{kind:s}:{index:d}",
    "torch._utils _rebuild_parameter": _parameter,
}
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
}
_NOT_DENSE = {
    "torch._utils _rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils _rebuild_qtensor": "a quantized tensor",
}
_UNTYPED = {"torch.storage UntypedStorage", "torch UntypedStorage"}
_CONSTANTS: dict[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_NUMBERS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1"}
_ARGUMENTS = {*_NUMBERS, "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
_ATOMS = {type(None), bool, int, float, complex, str, bytes}


class Unpickler:
    """One pickle of ``torch.save``, protocol 2 or 4, built from plain values only."""

    def __init__(
        self, file: IO[bytes], storage: Callable[[tuple[Any, ...]], Storage], size: int
    ) -> None:
        self._file = file
        self._storage = storage
        self._size = size
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "STOP": lambda _: None,
            "MARK": lambda _: self._mark(),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": lambda at: self._stack.append(self._memo[at]),
            "LONG_BINGET": lambda at: self._stack.append(self._memo[at]),
            "SHORT_BINSTRING": lambda text: self._stack.append(text.encode("latin-1").decode()),
            "FRAME": lambda _: None,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "STACK_GLOBAL": lambda _: self._stack.append(self._find(" ".join(self._last(2)))),
            "ADDITEMS": lambda _: self._add(self._to_mark()),
            "TUPLE": lambda _: self._tuple(self._to_mark()),
            "TUPLE1": lambda _: self._tuple(self._last(1)),
            "TUPLE2": lambda _: self._tuple(self._last(2)),
            "TUPLE3": lambda _: self._tuple(self._last(3)),
            "APPEND": lambda _: self._extend(self._last(1)),
            "APPENDS": lambda _: self._extend(self._to_mark()),
            "SETITEM": lambda _: self._set(self._last(2)),
            "SETITEMS": lambda _: self._set(self._to_mark()),
            "GLOBAL": lambda name: self._stack.append(self._find(name)),
            "BINPERSID": lambda _: self._stack.append(self._storage(self._stack.pop())),
            "REDUCE": lambda _: self._reduce(),
            "NEWOBJ": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
        }

    def load(self) -> object:
        """The value; the file is then at the pickle's end."""
        steps = 0
        for opcode, argument, _ in pickletools.genops(self._file):
            steps += 1
            name = opcode.name
            if name in _ARGUMENTS:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self._stack.append(_EMPTY[name]())
            elif name in self._steps:
                self._steps[name](argument)
            else:
                raise TorchFileError(f"is damaged, or torch.save did not write it ({name})")
        (value,) = self._stack
        _require_plain(value, 16 * steps + 10_000)
        return value

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _last(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        del self._stack[-count:]
        if len(items) < count:
            raise TorchFileError("is damaged")
        return items

    def _put(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    def _tuple(self, items: list[Any]) -> None:
        self._stack.append(tuple(items))

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise TorchFileError("is damaged")
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in {dict, OrderedDict, Counter} or len(items) % 2:
            raise TorchFileError("is damaged")
        _require_keys(items[::2])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def _add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise TorchFileError("is damaged")
        _require_keys(items)
        target.update(items)

    def _find(self, name: str) -> object:
        """What a GLOBAL names: something to call, a type of storage or a dtype."""
        module, _, last = name.partition(" ")
        if name in _CALLS:
            return _Callable(name, _CALLS[name])
        if module == "torch._utils" and last in _TENSORS:
            return _Callable(name, self._tensor)
        if name in _UNTYPED:
            return StorageType(torch.uint8, 1)
        if module == "torch" and last in _STORAGES:
            return StorageType(_STORAGES[last], _STORAGES[last].itemsize)
        dtype = getattr(torch, last, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        raise ForeignObjectError(_shown(name))

    def _reduce(self) -> None:
        function, arguments = self._last(2)
        if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
            raise TorchFileError("is damaged")
        if function.call in {OrderedDict, Counter, set}:
            _require_items(function.call, cast("tuple[Any, ...]", arguments))
        self._stack.append(function.call(*cast("tuple[Any, ...]", arguments)))

    def _build(self) -> None:
        target, state = self._last(2)
        if isinstance(target, _NumpyType) and type(state[1]) is str:
            target.order = state[1]
        elif type(state) is dict and _takes_attributes(target, list(state)):
            vars(target).update(state)
        else:
            raise TorchFileError("is damaged")
        self._stack.append(target)

    def _tensor(
        self,
        storage: Storage,
        offset: int,
        size: Iterable[int],
        stride: Iterable[int],
        *more: object,
    ) -> Tensor:
        """A dense tensor; ``more`` is requires_grad, hooks, for v3 a dtype, and flags."""
        dtypes = [each for each in more if isinstance(each, torch.dtype)]
        dtype = dtypes[0] if dtypes else storage.dtype
        if any(more[2 + len(dtypes) :]):
            raise ForeignObjectError("a conjugated or negated tensor")
        shape, steps = tuple(size), tuple(stride)
        content = storage.content
        if not all(type(number) is int for number in (offset, *shape, *steps)):
            raise TorchFileError("is damaged: a tensor whose shape is not made of whole numbers")
        if math.prod(shape) * dtype.itemsize > self._size + MARGIN:
            raise TorchFileError(
                f"holds a tensor of shape {clipped(str(list(shape)))[1:-1]}, too large for its file"
            )
        if dtype is torch.bool and int(content.max() if content.numel() else 0) > 1:
            raise TorchFileError("is damaged: a truth value is neither 0 nor 1")
        return torch.as_strided(content.view(dtype), shape, steps, offset)


def _takes_attributes(target: object, names: list[object]) -> bool:
    """Whether an object may get these attributes: a Namespace any, a state dict its metadata."""
    if isinstance(target, Namespace):
        return all(type(name) is str for name in names)
    return type(target) is OrderedDict and names == ["_metadata"]


def _shown(name: str) -> str:
    """What a GLOBAL names, for messages."""
    if name in _NOT_DENSE:
        return _NOT_DENSE[name]
    dotted = name.replace("__builtin__", "builtins").replace(" ", ".", 1)
    return dotted if len(dotted) <= 100 and dotted.isprintable() else clipped(dotted)


def _require_items(kind: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Refuse arguments of a set or a dict that are not one list of keys or of pairs."""
    items = list(arguments[0]) if arguments else []
    if len(arguments) > 1 or (arguments and type(arguments[0]) not in {list, tuple, dict}):
        raise TorchFileError("is damaged")
    if kind is OrderedDict and type(arguments[0] if arguments else {}) is not dict:
        items = [key for key, _ in items]
    _require_keys(items)


def _require_keys(keys: list[Any]) -> None:
    """Refuse keys that take long to hash: anything but numbers, strings and tuples of these."""
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if not all(type(part) in _ATOMS for part in parts):
            raise ForeignObjectError(f"a {type(key).__name__} as a key")


def _require_plain(value: object, limit: int) -> None:
    """Refuse values of other types, nested too deep, or that expand to far more than was read."""
    pending, count = [(value, 0)], 0
    while pending:
        item, depth = pending.pop()
        inner = _inner(item)
        count += 1 + len(inner)
        if count > limit or depth > DEEPEST:
            raise TorchFileError(f"is nested more than {DEEPEST} deep, or refers to itself")
        pending.extend((each, depth + 1) for each in inner if type(each) not in _ATOMS)


def _inner(item: object) -> list[object]:
    """The values inside a container; none inside a number, a string or a tensor."""
    kind = type(item)
    if kind in {list, tuple, set}:
        return list(cast("list[object]", item))
    if kind in {dict, Counter, OrderedDict}:
        content = cast("dict[object, object]", item)
        return [*content.values(), *(vars(content).values() if kind is OrderedDict else ())]
    if kind is Namespace:
        return list(vars(item).values())
    if kind in _ATOMS or isinstance(item, (Tensor, torch.dtype)):
        return []
    name = item.name if isinstance(item, _Callable) else f"{kind.__module__} {kind.__qualname__}"
    raise ForeignObjectError(_shown(name))
