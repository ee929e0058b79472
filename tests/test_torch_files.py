"""What ``torch.save`` wrote reads as torch itself reads it, or is refused; never as code."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from labelkit.torch_files import ForeignObjectError, TorchFileError, read_torch_file


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def repickled(pickled: bytes, records: dict[str, bytes] | None = None) -> bytes:
    """A zip as torch writes it, around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in (records or {}).items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def trained(depth: int = 2):
    """A small network and its optimizer after one step."""
    net = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(depth)))
    net.append(torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


FORMS = pytest.mark.parametrize(
    "options",
    [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}],
    ids=["zip", "before 1.6", "protocol 4"],
)


@FORMS
def test_a_checkpoint_reads_as_torch_reads_it(options):
    content = trained()
    found = read_torch_file(saved(content, **options))
    assert found["epoch"] == 3
    assert list(found["model"]) == list(content["model"])
    assert found["model"]._metadata == content["model"]._metadata
    assert all(torch.equal(found["model"][name], each) for name, each in content["model"].items())
    assert found["optimizer"]["param_groups"] == content["optimizer"]["param_groups"]
    for at, state in content["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][at][k], v) for k, v in state.items())


@FORMS
@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
     torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128],
)  # fmt: skip
def test_tensors_keep_type_shape_order_and_shared_numbers(options, dtype):
    whole = torch.randint(0, 2, (6, 4)).to(dtype)
    content = [whole, whole.t(), whole[1:3, 2], whole[:0], torch.nn.Parameter(torch.ones(2))]
    found = read_torch_file(saved(content, **options))
    assert all(map(torch.equal, found[:4], content[:4]))
    assert [each.stride() for each in found[:4]] == [each.stride() for each in content[:4]]
    assert found[0].data_ptr() == found[1].data_ptr()
    assert type(found[4]) is torch.Tensor


def test_plain_values_and_what_trainers_save_keep_their_values():
    content = {
        "values": [None, True, 3, -(2**70), 2.5, 1 + 2j, "é", b"\x00\xff", b"", (), {1, "a"}],
        "args": Namespace(lr=0.1, best=np.float64(76.5), names=["a"]),
        "milestones": Counter({30: 1, 60: 2}),
        "ordered": OrderedDict(b=1, a=2),
        ("a", 1): torch.Size([2, 3]),
        "dtype": torch.bfloat16,
    }
    found = read_torch_file(saved(content))
    assert found == content
    assert isinstance(found["args"], Namespace)
    assert type(found["args"].best) is float
    scalars = [np.float32(0.5), np.int64(-3), np.bool_(1), np.uint8(7), np.str_("ab")]
    assert read_torch_file(saved(scalars)) == [0.5, -3, True, 7, "ab"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(bytearray, 3 * 10**9), "builtins.bytearray"),
        (Calls(torch.UntypedStorage, 10**12), "damaged"),
        (Calls(torch.FloatTensor, 10**12), "torch.FloatTensor"),
        (Calls(np.zeros, 10**12), "numpy.zeros"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(complex, Calls(set, [(((1,),),)])), "tuple as a key"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.zeros(3), "_reconstruct"),
        (torch.eye(2).to_sparse(), "sparse tensor"),
        ({"kind": OrderedDict}, "collections.OrderedDict"),
    ],
)
def test_other_objects_are_refused_by_name(value, name):
    with pytest.raises(TorchFileError, match=name):
        read_torch_file(saved(value))


def shared_twice(levels: int) -> list[object]:
    """Lists that hold the list below them twice: small in a file, 2 ** levels values to walk."""
    value: list[object] = [1]
    for _ in range(levels):
        value = [value, value]
    return value


def test_lists_that_multiply_nest_or_contain_themselves_are_refused():
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    for value in (shared_twice(50), deep, loop):
        with pytest.raises(TorchFileError, match="nested more than 64 deep"):
            read_torch_file(saved(value))


def _pickle_of(shape: str) -> bytes:
    """The pickle of one float tensor of four numbers, with other text for its shape and stride."""
    head = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00"
    )
    return head + shape.encode("latin-1") + b"\x89ccollections\nOrderedDict\n)RtR."


def _number(value: int) -> str:
    return "J" + struct.pack("<i", value).decode("latin-1")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (f"{_number(10**9)}\x85K\x00\x85", "too large for its file"),
        (f"{_number(5)}\x85K\x01\x85", "damaged"),
        (f"X\x01\x00\x00\x00a{_number(10**9)}\x86K\x01\x85", "whole numbers"),
        (f"{_number(-4)}\x85K\x01\x85", "damaged"),
    ],
    ids=["a view of 4 GB", "beyond the end", "repeated text", "negative"],
)
def test_a_tensor_never_exceeds_its_numbers(shape, reason):
    numbers = {"data/0": np.arange(4, dtype=np.float32).tobytes()}
    plain = repickled(_pickle_of("K\x04\x85K\x01\x85"), numbers)
    assert read_torch_file(plain).tolist() == [0, 1, 2, 3]
    with pytest.raises(TorchFileError, match=reason):
        read_torch_file(repickled(_pickle_of(shape), numbers))
    with pytest.raises(TorchFileError, match="damaged"):
        read_torch_file(repickled(_pickle_of("K\x04\x85K\x01\x85"), {"data/0": b"1234"}))


def test_an_old_file_that_declares_more_numbers_than_it_has_is_refused():
    content = saved(torch.zeros(4), _use_new_zipfile_serialization=False)
    declared = content.replace(b"K\x04N", b"J\x00\x00\x00\x30N")
    assert declared != content
    with pytest.raises(TorchFileError, match="tensors are longer than the file"):
        read_torch_file(declared)


def test_zip_bombs_and_other_zips_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 25))
    with pytest.raises(TorchFileError, match="holds 33,554,432 bytes, more than"):
        read_torch_file(buffer.getvalue())
    for content in (repickled(b"N.")[:-30], pickle.dumps([1]), b"", b"PK", b"\x80", b"\x89HDF"):
        with pytest.raises(TorchFileError):
            read_torch_file(content)
    script = repickled(b"\x80\x02N.", {"constants.pkl": b"\x80\x02)."})
    with pytest.raises(ForeignObjectError, match="TorchScript"):
        read_torch_file(script)


def same(one: Any, other: Any) -> bool:
    """Whether two contents are equal, tensors by their numbers."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def test_no_mutation_of_a_zip_changes_a_value():
    """Flipped bits, missing ends and moved pieces: refused, or read as before."""
    content = saved(trained(depth=1))
    whole = read_torch_file(content)
    rng = np.random.default_rng(14)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        at, length = sorted(rng.integers(len(content), size=2))
        match rng.integers(4):
            case 0:
                damaged = damaged[:length]
            case 1:
                damaged[at:length] = damaged[length : 2 * length - at]
            case _:
                damaged[at] ^= 1 << rng.integers(8)
        try:
            assert same(read_torch_file(bytes(damaged)), whole)
        except TorchFileError:
            refused += 1
    assert refused > 150


def test_a_mutated_pickle_is_read_or_refused_but_never_runs_or_fails_otherwise():
    """With correct checksums: what an attacker writes, not what a disk damages."""
    with zipfile.ZipFile(io.BytesIO(saved(trained(depth=1)))) as archive:
        pickled = archive.read("archive/data.pkl")
        names = [name for name in archive.namelist() if "/data/" in name]
        records = {name.removeprefix("archive/"): archive.read(name) for name in names}
    rng = np.random.default_rng(14)
    refused = 0
    for _ in range(300):
        damaged = bytearray(pickled)
        for _ in range(rng.integers(1, 4)):
            at, length = rng.integers(len(damaged)), rng.integers(1, 40)
            source = rng.integers(len(damaged))
            if rng.random() < 0.5:
                damaged[at] = rng.integers(256)
            else:
                damaged[at : at + length] = damaged[source : source + rng.integers(40)]
        try:
            read_torch_file(repickled(bytes(damaged), records))
        except TorchFileError:
            refused += 1
    assert refused > 150
