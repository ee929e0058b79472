"""Changes of the header and of its checksum."""

from __future__ import annotations

import json

import h5py
import numpy as np

from tests.label_maps.support.file_surgery import header_of, seal


def header_field(file, rng):
    """One field with another value, without a new checksum."""
    header = header_of(file)
    name = rng.choice(sorted(header))
    match header[name]:
        case str(text):
            header[name] = text + "x"
        case dict(facts):
            header[name] = facts | {"more": 1}
        case list(forms):
            header[name] = [*forms, forms[0]]
        case number:
            header[name] = number + int(rng.choice((-1, 1)))
    file.attrs["header"] = np.bytes_(json.dumps(header).encode())


def impossible_header_field(file, rng):
    """One field with an impossible value, and a matching checksum."""
    impossible = {
        "format": ["other", 1, None, ""],
        "version": [0, 99, 2**70, "1", None, -1, True],
        "maps": [[], None, {}, "maps", [None], [{}], [[]]],
        "classes_name": [1, None, ["a"]],
        "classes_digest": ["", "0" * 64, 1, None],
        "source": [[], None, "text"],
        "made_with": [[], None, "text"],
        "content": ["", "0" * 64, None],
        "other": [1, "no", None],
        "calibration": [[], 1, "text", {}, False],
        "more": [1],
    }
    header = header_of(file)
    name = rng.choice(sorted(impossible))
    header[name] = impossible[name][rng.integers(len(impossible[name]))]
    seal(file, header)


def impossible_form(file, rng):
    """One member of a form with an impossible value, and a matching checksum."""
    impossible = {
        "selection": ["row", "", None, 1],
        "top_k": [0, -3, 2, 4, 21, 2**31, 2**62, 2**70, "3", 2.5, None, [3]],
        "grid": [[0, 5], [-4, -5], [4], [5, 4, 1], [2**31, 2**31], [4, 2**62], [20, 2], "45", None],
        "scores": ["uint16", "float32", "float16", None],
        "background": [-1, 0, 3, 5, 18, 2**40, 2**70, "4", None],
        "patterns": [-1, 0, 3, 5, 2**40, None],
        "log_sum_exp": [True, None, 0, "no"],
        "zoom": [-1.0, "1", None, [1.0]],
        "more": [1],
    }
    header = header_of(file)
    form = header["maps"][rng.integers(len(header["maps"]))]
    names = [name for name in impossible if name != "patterns" or form["selection"] == "image"]
    name = rng.choice(sorted(names))
    values = (
        [value for value in impossible[name] if value is not form[name]] if name in form else [1]
    )
    form[name] = values[rng.integers(len(values))]
    seal(file, header)


def impossible_calibration(file, rng):
    """One member of the calibration with an impossible value, and a matching checksum."""
    impossible = {
        "scale": [[0.1], [0.1, 0.2, 0.3], [17, 0], [0, -1e300], ["0.1", 0], [None, 0], 0.1, None],
        "compression": [-0.001, 1.001, 1e300, "0.5", None, [0.5], True],
        "mixing": [[], [[0, 0]], [[0, 0]] * 3, [[0, 0], [0]], [[0, 0], [0, 16.001]], None, {}],
        "classes": [0, 19, 21, -20, 2**63, 20.5, "20", None],
        "images": [-1, 2**53, 2**70, 0.5, "64", None],
        "crops": [-1, 2**53, [4]],
        "seed": [-1, 2**53, "0"],
        "divergence": [[], [0.5], [0.5, -0.1], [1, 2, 3], "0.5", 0.5],
        "more": [1],
    }
    header = header_of(file)
    name = rng.choice(sorted(impossible))
    header["calibration"][name] = impossible[name][rng.integers(len(impossible[name]))]
    seal(file, header)


def calibration_that_is_no_json(file, rng):
    """Numbers that some libraries write and JSON does not have."""
    number = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"0x1", b"+1", b".5")[rng.integers(7)]
    encoded = json.dumps(header_of(file)).encode()
    name = (b'"scale": [', b'"compression": ', b'"divergence": [')[rng.integers(3)]
    at = encoded.index(name) + len(name)
    end = min(encoded.index(sign, at) for sign in (b",", b"]") if sign in encoded[at:])
    seal(file, encoded[:at] + number + encoded[end:])


def lost_calibration_member(file, rng):
    """Without a member that has no default."""
    header = header_of(file)
    del header["calibration"][("scale", "compression", "mixing", "classes")[rng.integers(4)]]
    seal(file, header)


def duplicate_member(file, rng):
    """A member that is there twice, of which readers take the first or the last."""
    encoded = json.dumps(header_of(file)).encode()
    first = (b'{"version": 1, ', b'{"source": {}, ', b'{"calibration": null, ')[rng.integers(3)]
    inner = encoded.replace(b'"scale": ', b'"scale": [1, 1], "scale": ')
    seal(file, inner if rng.integers(2) else first + encoded[1:])


def another_number_of_forms(file, rng):
    header = header_of(file)
    number = int((1, 3, 64, 65, 30_000)[rng.integers(5)])
    header["maps"] = [header["maps"][n % 2] for n in range(number)]
    if number == 30_000:
        header["maps"] = [{"top_k": 1, "grid": [1, 1]}] * number
    seal(file, header)


def lost_header_field(file, rng):
    """A missing field takes its default, if any; only the calibration has one here."""
    header = header_of(file)
    del header[rng.choice(sorted(header.keys() - {"calibration"}))]
    seal(file, header)


def invalid_header(file, rng):
    headers = [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"format":"\\ud800"}',
        b" " * (2 << 20),
    ]
    seal(file, headers[rng.integers(len(headers))])


def nested_header(file, rng):
    depth = int(rng.integers(2000, 30000))
    nested = b'{"teacher":' + b"[" * depth + b"]" * depth + b"}"
    source = json.dumps(header_of(file)["source"]).encode()
    seal(file, json.dumps(header_of(file)).encode().replace(source, nested))


def swapped_attributes(file, _):
    header, checksum = file.attrs["header"], file.attrs["header_crc32"]
    file.attrs["header"], file.attrs["header_crc32"] = checksum, header


def attribute_of_another_kind(file, rng):
    name = rng.choice(("header", "header_crc32"))
    del file.attrs[name]
    kinds = [
        None,
        "text",
        b"bytes" * 20000,
        1.5,
        float("nan"),
        -1,
        np.uint64(2**64 - 1),
    ]
    kind = kinds[rng.integers(len(kinds))]
    if kind is not None:
        file.attrs[name] = kind


def header_of_many_values(file, rng):
    value = file.attrs["header"]
    kinds = [h5py.Empty("S4"), np.array([value]), np.array([value, value]), np.array([[value]])]
    file.attrs["header"] = kinds[rng.integers(len(kinds))]


def checksum_of_many_values(file, rng):
    value = file.attrs["header_crc32"]
    kinds = [h5py.Empty("u4"), np.array([value, value]), np.array([[value]]), value[None][:0]]
    file.attrs["header_crc32"] = kinds[rng.integers(len(kinds))]


HEADER = (
    header_field,
    impossible_header_field,
    impossible_form,
    another_number_of_forms,
    impossible_calibration,
    calibration_that_is_no_json,
    lost_calibration_member,
    duplicate_member,
    lost_header_field,
    invalid_header,
    nested_header,
    swapped_attributes,
    attribute_of_another_kind,
    header_of_many_values,
    checksum_of_many_values,
)


# Deliberate forgeries with a matching checksum, which the format cannot notice.


def another_text(field):
    """A forged header: another text and a matching checksum."""

    def change(file, _):
        header = header_of(file)
        header[field] = {"teacher": "another"} if isinstance(header[field], dict) else "another"
        seal(file, header)

    return change


def transposed_grid(file, _):
    """A forged header: the same number of cells, but rows and columns swapped."""
    header = header_of(file)
    header["maps"][0]["grid"].reverse()
    seal(file, header)


def another_zoom(file, _):
    header = header_of(file)
    header["maps"][1]["zoom"] = 3.0
    seal(file, header)


def without_calibration(file, _):
    header = header_of(file)
    del header["calibration"]
    seal(file, header)


UNNOTICED = {
    "another classes_name": (another_text("classes_name"), ["classes_name"]),
    "another source": (another_text("source"), ["source"]),
    "another made_with": (another_text("made_with"), ["made_with"]),
    "transposed grid": (transposed_grid, ["forms", "rows"]),
    "another zoom": (another_zoom, ["forms"]),
    "no calibration": (without_calibration, ["calibration"]),
}
