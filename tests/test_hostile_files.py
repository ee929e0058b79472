"""Cards, trees, loose maps, weights and checkpoints under attack: as before, or one clear line.

``labelkit`` prints a ``LabelkitError`` or an ``OSError`` in one line, and anything else as a
traceback. Damage by disks must never change a value. Content with right checksums is an attacker's,
who may write any values, but may not run code, fill the memory or cause a traceback.
"""

from __future__ import annotations

import io
import resource
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import timm
import torch

from labelkit.convert import import_tree
from labelkit.convert.relabel_format import read_relabel_map
from labelkit.errors import LabelkitError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.teachers import load_teacher
from labelkit.teachers.card import TeacherCard, read_card
from labelkit.train.checkpoint import Checkpoint, EpochRecord, read_checkpoint
from tests.mutations import attack_pickle, attack_text, damage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CARD = b"""model = "test_resnet"
classes = "classes.txt"
size = 64
native_size = 64
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
licence = "apache-2.0"
[accuracy]
top1 = 71.5
source = "measured"
[weights]
file = "w.pth"
"""


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def tree_file(tmp_path: Path) -> tuple[bytes, Callable[[Path], object]]:
    """A published tree, and how it is read: to what can be compared."""
    from labelkit.convert import export_tree

    edges = [("tabby", "cat"), ("cat", "pet"), ("dog", "pet"), ("pet", "thing"), ("car", "thing")]
    classes = ClassList.of(["thing", "pet", "car", "cat", "dog", "tabby"])
    tree = SemanticTree.build(classes, Taxonomy.from_edges(edges))
    export_tree(tree, tmp_path / "tree.pth")

    def read(path: Path) -> object:
        found = import_tree(path)
        return found.classes.ids, found.names, found.parent.tolist(), found.level.tolist()

    return (tmp_path / "tree.pth").read_bytes(), read


def loose_map(_: Path) -> tuple[bytes, Callable[[Path], object]]:
    """One ReLabel file."""
    index = torch.arange(5).view(5, 1, 1).expand(5, 3, 3) + torch.arange(3)
    content = torch.stack([torch.arange(45).flip(0).view(5, 3, 3).float(), index.float()])

    def read(path: Path) -> object:
        return [plane.tolist() for plane in read_relabel_map(path, "rows-first", 1000)]

    return saved(content), read


def checkpoint(tmp_path: Path) -> tuple[bytes, Callable[[Path], object]]:
    """A run's ``last.pt`` with an optimizer's state."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    values = {
        "recipe": {"run.seed": 1, "data.crop_scale": [0.1, 1.0]},
        "classes": ClassList.of(["a", "b"]),
        "labels": "0123abcd",
        "images": "4567cdef",
        "records": (EpochRecord(1, 0.5, 0.1, {"top1": 50.0}, 3.0, 9.5),),
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    Checkpoint(**values).save(tmp_path / "last.pt")

    def read(path: Path) -> object:
        found = read_checkpoint(path)
        assert isinstance(found, Checkpoint)
        model = {name: value.tolist() for name, value in found.model.items()}
        return (
            found.recipe,
            found.classes,
            found.labels,
            found.records,
            model,
            repr(found.optimizer),
        )

    return (tmp_path / "last.pt").read_bytes(), read


FILES = {"tree.pth": tree_file, "loose.pt": loose_map, "last.pt": checkpoint}


def is_one_line(message: str) -> bool:
    """Whether a message can be printed in one line of a readable length."""
    return len(message) < 1000 and message.isprintable()


def outcomes(
    path: Path, read: Callable[[Path], object], contents: list[bytes], expected: object
) -> Counter[str]:
    """How many contents are refused in one line, read as before, or neither."""
    counts: Counter[str] = Counter()
    for content in contents:
        path.write_bytes(content)
        try:
            found = read(path)
        except (LabelkitError, OSError) as error:
            counts["refused" if is_one_line(str(error)) else "long"] += 1
        else:
            counts["same" if found == expected else "other"] += 1
    return counts


def run(name: str, tmp_path: Path, count: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """The outcomes of damage, and of attacks, on a file of one kind."""
    content, read = FILES[name](tmp_path)
    path = tmp_path / f"changed-{name}"
    path.write_bytes(content)
    whole = read(path)
    rng = np.random.default_rng(seed)
    damaged = outcomes(path, read, [damage(content, rng) for _ in range(count)], whole)
    attacked = outcomes(path, read, [attack_pickle(content, rng) for _ in range(count)], whole)
    return damaged, attacked


@pytest.mark.parametrize("name", FILES)
def test_damage_never_changes_a_value_and_no_attack_gets_past_one_line(tmp_path, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    damaged, attacked = run(name, tmp_path, 60, seed=14)
    assert damaged["other"] == damaged["long"] == attacked["long"] == 0
    assert damaged["refused"] > 20
    assert attacked["refused"] > 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def read_card_strictly(path: Path) -> object:
    """A card's fields, each of which must be in the range of its type."""
    card = read_card(path)
    fields = msgspec.to_builtins(card)
    assert msgspec.convert(fields, TeacherCard) == card
    assert all(np.isfinite([*card.mean, *card.std]))
    return {**fields, "name": "", "folder": ""}


def run_cards(tmp_path: Path, count: int, seed: int) -> Counter[str]:
    """The outcomes of damage to and attacks on a card, which has no checksum: a person edits it."""
    path = tmp_path / "card.toml"
    path.write_bytes(CARD)
    whole = read_card_strictly(path)
    rng = np.random.default_rng(seed)
    contents = [(damage if at % 3 == 0 else attack_text)(CARD, rng) for at in range(count)]
    return outcomes(path, read_card_strictly, contents, whole)


def test_a_hostile_card_is_one_line(tmp_path):
    counts = run_cards(tmp_path, 150, seed=14)
    assert counts["refused"] > 75
    assert not counts["long"]


def run_teachers(tmp_path: Path, count: int, seed: int) -> Counter[str]:
    """The outcomes of loading a teacher from changed cards and changed weights."""
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    weights = saved({"state_dict": state, "epoch": 3})
    (tmp_path / "w.pth").write_bytes(weights)
    (tmp_path / "card.toml").write_bytes(CARD)

    def read(path: Path) -> object:
        del path
        return load_teacher(str(tmp_path / "card.toml"), device="cpu").weights_digest

    whole = read(tmp_path)
    rng = np.random.default_rng(seed)
    contents = [damage(weights, rng) for _ in range(count)]
    counts = outcomes(tmp_path / "w.pth", read, contents, whole)
    assert counts["other"] == 0
    (tmp_path / "w.pth").write_bytes(weights)
    cards = [attack_text(CARD, rng) for _ in range(count)]
    return counts + outcomes(tmp_path / "card.toml", read, cards, whole)


def test_a_teacher_of_damaged_weights_or_a_hostile_card_is_refused_or_the_same(tmp_path):
    counts = run_teachers(tmp_path, 15, seed=14)
    assert counts["refused"] > 10
    assert not counts["long"]
