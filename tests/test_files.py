"""Files that may be torn or hostile end in one line; files are written atomically or not at all."""

from __future__ import annotations

import errno
import os
from typing import Any

import msgspec
import pytest

from labelkit.convert.relabel_format import RECORD, folder_record
from labelkit.errors import LabelMapError, RecipeError
from labelkit.files import decode_json, decode_toml, replace_file

# As a power cut leaves a file, or an attacker makes it.
JSON = {
    "empty": b"",
    "zeros": bytes(100),
    "cut": b'{"top_k": 5',
    "deep": b'{"top_k":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep, in a field that nobody reads": b'{"x":' + b'{"a":' * 200_000,
    "huge number": b'{"top_k":' + b"7" * 5000 + b"}",
    "infinite number": b'{"top_k": 1e999}',
    "deeper than anything of ours": b'{"top_k":5,"x":' + b"[" * 40 + b"]" * 40 + b"}",
    "more than 64 bits": b'{"top_k":5,"x":18446744073709551615}',
    "another type": b"[]",
    "not UTF-8": b'{"\xff": 1}',
}
TOML = {
    "cut": "a",
    "deep": "a = " + "[" * 100_000,
    "deep tables": "a = " + "{a = " * 100_000,
    "huge number": "a = " + "7" * 5000,
    "dotted": ".".join("a" * 5000) + " = 1",
    "huge hexadecimal number": "a = 0x" + "f" * 5000,
    "not a number": "a = nan",
    "infinite number": "a = 1e999",
    "another type": "a = 'x'",
}


class Record(msgspec.Struct):
    """What a test file holds."""

    top_k: int


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_torn_and_hostile_json_is_one_line(content: bytes) -> None:
    with pytest.raises(LabelMapError, match=r"^x\.json is damaged \([^\n]+\): remove it$"):
        decode_json(content, Record, "x.json", LabelMapError, "remove it")


@pytest.mark.parametrize("content", TOML.values(), ids=TOML)
def test_torn_and_hostile_toml_is_one_line(content: str) -> None:
    with pytest.raises(RecipeError, match=r"^x\.toml: [^\n]+\. Repair it$"):
        decode_toml(content, dict[str, int], "x.toml", RecipeError, "Repair it")


def test_intact_content_is_returned() -> None:
    found: dict[str, Any] = decode_json(b'{"a":[1]}', dict, "x", LabelMapError, "")
    assert found == {"a": [1]}
    assert decode_toml("top_k = 3", Record, "x", RecipeError, "") == Record(3)


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_a_torn_or_hostile_folder_record_says_what_to_do(content: bytes, tmp_path) -> None:
    (tmp_path / RECORD).write_bytes(content)
    with pytest.raises(LabelMapError, match=r"labelkit\.json is damaged .*: export the folder"):
        folder_record(tmp_path)


def test_links_in_a_circle_are_an_error_that_names_the_path(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="a'") as caught:
        replace_file(tmp_path / "a", b"new")
    assert caught.value.errno == errno.ELOOP


def test_a_pipe_is_never_replaced_even_through_a_link(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="not a regular file: choose another output"):
            replace_file(tmp_path / name, b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"link", "pipe"}


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    """In bytes, not in characters."""
    name = "\N{SNOWMAN}" * 80 + ".json"
    replace_file(tmp_path / name, b"new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_below_a_file_is_an_error_that_names_the_output(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/tree\.json"):
        replace_file(tmp_path / "file" / "tree.json", b"new")
