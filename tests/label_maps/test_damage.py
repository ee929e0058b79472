"""A damaged or hostile file is refused or reads unchanged; it never reads differently.

``LABELKIT_MUTATIONS=2000`` tries that many changes instead of 300. The changes are made and read in
child processes: one that crashed would take its process with it, and the memory of one can be
limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter, MapForm
from tests.label_maps.support.damaged_bytes import BYTES
from tests.label_maps.support.damaged_content import CONTENT
from tests.label_maps.support.damaged_header import HEADER, UNNOTICED
from tests.label_maps.support.damaged_sizes import SIZES
from tests.label_maps.support.damaged_structure import STRUCTURE
from tests.label_maps.support.file_surgery import COUNT
from tests.label_maps.support.random_maps import random_maps
from tests.label_maps.support.small_files import calibration_of

MUTATIONS = int(os.environ.get("LABELKIT_MUTATIONS", "300"))
BATCH = 150
MEMORY = 64 << 20
ROOT = Path(__file__).parents[2]
CLASSES = ClassList.of([f"class {n}" for n in range(20)], "twenty")

FORMS = [
    MapForm(top_k=3, grid=(4, 5), background=4),
    MapForm(selection="image", top_k=2, grid=(3, 2), background=4, patterns=2, zoom=1.5),
]
CALIBRATION = calibration_of(2, images=64, crops=4, divergence=(0.6, 0.4))
KINDS = (*STRUCTURE, *SIZES, *HEADER, *CONTENT)

# ------------------------------------------------------------------------- the child's side


def write_original(path):
    rng = np.random.default_rng(0)
    unreadable = {"c/torn.jpg": "torn", "c/void.png": "empty"}
    keys = [f"{'ab'[n % 2]}/é{n:02d}.jpg" for n in range(COUNT)]
    made = LabelMapWriter(
        path,
        classes=CLASSES,
        keys=[*keys, *unreadable],
        forms=FORMS,
        source={"teacher": "a teacher", "seed": 0},
        made_with={"numpy": "any"},
    )
    maps = [random_maps(rng, COUNT, form, len(CLASSES)) for form in FORMS]
    made.commit(made.shards[0], maps, unreadable)
    made.finalize(CALIBRATION).close()


def mutate(path, change, rng):
    if change in BYTES:
        content = bytearray(path.read_bytes())
        change(content, rng)
        path.write_bytes(content)
    else:
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            change(file, rng)


def read(path, refusals):
    """Everything that can be read from a file; refusals are added to ``refusals``."""

    @contextmanager
    def refusing():
        try:
            yield
        except LabelMapError as error:
            refusals.append(error)

    parts = {}
    with refusing(), LabelMapFile.open(path) as file:
        parts |= {
            "classes": file.classes.ids,
            "classes_name": file.classes.name,
            "count": len(file),
            "unreadable": file.unreadable,
            "source": file.attrs,
            "made_with": file.made_with,
            "calibration": file.calibration,
        }
        with refusing():
            parts["keys"] = list(file)
        for position in range(len(file)):
            with refusing():
                parts["row", position] = plain(file.maps_at(position))
        for key in parts.get("keys", ()):
            with refusing():
                parts["row", key] = plain(file.maps(key))
        if any(isinstance(name, tuple) for name in parts):
            parts["forms"] = file.forms  # believed where a row fits them
    return parts


def plain(maps):
    return [
        (array.shape, array.tobytes())
        for label_map in maps
        for array in (
            label_map.index,
            label_map.score,
            label_map.background.classes,
            label_map.background.logits,
            np.float32(label_map.background.rest),
            np.asarray(label_map.background.coefficients, float),
            np.asarray(label_map.background.patterns, float),
        )
    ]


def differences(found, original):
    """The parts that read differently from the original; the rows are one part."""
    names = {name for name, value in found.items() if original.get(name) != value}
    return sorted({"rows" if isinstance(name, tuple) else name for name in names})


@contextmanager
def little_memory():
    """Limit this process to 64 MiB more memory than it has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def out_of_memory(error):
    while error is not None:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def try_one(path, change, rng, content, original):
    """Change a copy of the file, read it, and return the outcome."""
    path.write_bytes(content)
    mutate(path, change, rng)
    refusals, wrong = [], None
    try:
        with little_memory():
            found = read(path, refusals)
    except Exception as error:  # noqa: BLE001 -- any other error is what the test looks for
        found, wrong = {}, f"{type(error).__name__}: {str(error)[:200]}"
        refusals.append(error)
    return {
        "refused": len(refusals),
        "changed": differences(found, original),
        "wrong": wrong,
        "memory": any(map(out_of_memory, refusals)),
    }


def try_many(folder, start, stop):
    """The child program: one line before each change, and one with its outcome."""
    source = Path(folder) / "maps.h5"
    content, original = source.read_bytes(), read(source, [])
    changes = [(name, change) for name, (change, _) in UNNOTICED.items()]
    if stop:
        # As many changes of bytes as of content, and each kind of them equally often.
        kinds = [pair for n in range(start, stop) for pair in [(KINDS, BYTES)[n % 2]]]
        changes = [
            (kind[n // 2 % len(kind)].__name__, kind[n // 2 % len(kind)])
            for n, kind in enumerate(kinds, start)
        ]
    for seed, (name, change) in enumerate(changes, start):
        print(f"{seed} {name}", flush=True)  # noqa: T201 -- the answer
        target = Path(folder) / "changed.h5"
        outcome = try_one(target, change, np.random.default_rng(seed), content, original)
        print(json.dumps({"name": name, "seed": seed} | outcome), flush=True)  # noqa: T201


def outcomes(folder, start=0, stop=0):
    program = (
        "import sys; from tests.label_maps.test_damage import try_many; "
        "try_many(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(folder), str(start), str(stop)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    assert run.returncode == 0, (run.returncode, lines[-1:], run.stderr[-2000:])
    return [json.loads(line) for line in lines[1::2]]


# ------------------------------------------------------------------------------------ the tests

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads memory use from Linux's /proc"
)


HARMLESS = {"more_attributes", "append_bytes"}
SOMETIMES = {"wrong_filter", "record_stored_differently"}  # by the filter, and by the form


def faults(found):
    return [one for one in found if one["changed"] or one["wrong"] or one["memory"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    write_original(folder / "maps.h5")
    return folder


@pytest.fixture(scope="module")
def known(folder):
    """The outcomes of the changes that are not part of the long run."""
    return outcomes(folder)


def test_every_change_is_refused_or_changes_nothing(folder):
    """No changed file reads differently, ends the process, or takes more than 64 MiB."""
    found = [
        outcome
        for start in range(0, MUTATIONS, BATCH)
        for outcome in outcomes(folder, start, min(start + BATCH, MUTATIONS))
    ]
    assert len(found) == MUTATIONS
    assert not faults(found)
    refused = {one["name"] for one in found if one["refused"]}
    assert refused >= {change.__name__ for change in (*BYTES, *KINDS)} - HARMLESS - SOMETIMES
    assert {one["name"] for one in found if not one["refused"]} >= HARMLESS


def test_only_forgeries_with_matching_checksums_go_unnoticed(known):
    """The changes that do read differently: deliberate ones with matching checksums."""
    found = {one["name"]: one for one in known if one["name"] in UNNOTICED}
    assert {name: one["changed"] for name, one in found.items()} == {
        name: changed for name, (_, changed) in UNNOTICED.items()
    }
    assert not any(one["wrong"] or one["refused"] for one in found.values())
