"""``labelkit evaluate`` and ``labelkit predict``, called as a user would."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from labelkit.train import evaluate_folder, load_classifier, read_recipe, train
from tests.command import labelkit
from tests.train.support import WNIDS, draw_wnid_folders, recipe_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak run on seven classes, ``run``, and its ``photos`` with one unreadable image."""
    root = tmp_path_factory.mktemp("root")
    photos = draw_wnid_folders(root / "photos")
    (root / "r.toml").write_text(recipe_text(photos, epochs=1))
    train(read_recipe(root / "r.toml", [f"run.output={root / 'run'}"]))
    (photos / "val" / WNIDS[0] / "bad.png").touch()
    (root / "classes.txt").write_text("\n".join(WNIDS))
    assert (
        labelkit(
            "build-tree", root / "classes.txt", "--inner-levels", "all", "-o", root / "tree.json"
        ).code
        == 0
    )
    return root


def test_the_tables_name_classes_and_what_was_not_counted(root: Path) -> None:
    found = labelkit("evaluate", root / "run", root / "photos/val", "--tree", root / "tree.json")
    assert found.code == 0
    metrics = evaluate_folder(load_classifier(root / "run"), root / "photos/val").metrics
    assert f"{root}/run/best.safetensors, epoch 1 on {root}/photos/val" in found.out
    assert "35 images of 7 classes, ranked among 7" in found.out
    assert f"top-1 {metrics['top1']:.2f} % " in found.text
    assert f"ReaL top-1 {metrics['real']:.2f} % any correct label counts; 6 images" in found.text
    assert f"calibration error {metrics['calibration_error']:.2f} %" in found.text
    assert "distance of a mistake" in found.text
    assert "Unreadable, not counted: 1" in found.text
    assert f"{WNIDS[0]}/bad.png: the file is empty" in found.text
    table = found.out[found.out.index("Worst classes") : found.out.index("Most frequent")]
    assert all(wnid in table for wnid in WNIDS)
    assert "Shetland sheepdog" in table


def test_a_limit_shortens_the_tables_and_zero_leaves_them_out(root: Path) -> None:
    found = labelkit("evaluate", root / "run", root / "photos/val", "--limit", 2)
    table = found.out[found.out.index("Worst classes, 2 of 7") : found.out.index("Most frequent")]
    assert sum(wnid in table for wnid in WNIDS) == 2
    found = labelkit("evaluate", root / "run", root / "photos/val", "--limit", 0)
    assert "Worst classes" not in found.out
    assert "No distance of a mistake: it needs a tree: pass one with --tree" in found.text


def test_json_and_the_page_have_everything(root: Path, tmp_path: Path) -> None:
    arguments = (root / "run/last.pt", root / "photos/val", "--tree", root / "tree.json")
    found = labelkit("evaluate", *arguments, "--json", "-o", tmp_path / "report.html")
    document = json.loads(found.out)
    last = json.loads((root / "run/log.jsonl").read_text())["metrics"]
    assert {name: document["metrics"][name] for name in last} == last
    assert {each["id"] for each in document["classes"]} == set(WNIDS)
    assert document["unreadable"] == {f"{WNIDS[0]}/bad.png": "the file is empty"}
    page = (tmp_path / "report.html").read_text()
    assert f"{last['top1']:.2f} %" in page
    assert all(f"<td>{wnid}</td>" in page for wnid in WNIDS)
    for pair in document["confusions"]:
        assert pair["distance"] > 0
        assert page.count(f">{pair['predicted']}</td>") >= 1
    assert "the file is empty" in page


def test_quiet_prints_nothing_and_keeps_an_existing_page(root: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", root / "run", root / "photos/val", "--quiet")
    found = labelkit(*arguments)
    assert (found.code, found.out, found.err) == (0, "", "")
    (tmp_path / "report.html").write_text("mine")
    found = labelkit(*arguments, "-o", tmp_path / "report.html")
    assert found.code == 2
    assert (tmp_path / "report.html").read_text() == "mine"
    assert labelkit(*arguments, "-o", tmp_path / "report.pdf").code == 2


def test_only_some_classes_among_themselves(root: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(f"{WNIDS[1]}\n{WNIDS[3]}\n")
    options = ("--classes", tmp_path / "two.txt", "--among", "data")
    found = labelkit("evaluate", root / "run", root / "photos/val", *options)
    assert "10 images of 2 classes, ranked among 2" in found.out
    assert "Unreadable" not in found.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "photos"), "Pass the folder of one split, such as"),
        (("run", "none"), "no such folder"),
        (("nothing", "photos/val"), "no such file, folder or model"),
        (("r.toml", "photos/val"), "expected the folder of a labelkit train run"),
        (("run", "photos/val", "--real", "tree.json"), "expected real.json"),
        (("run", "photos/val", "--tree", "r.toml"), "r.toml"),
        (("run", "photos/val", "--device", "moon"), "cannot use the device 'moon'"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_to_do(
    root: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    found = labelkit("evaluate", *arguments)
    assert found.code == 1
    assert message in found.text
    assert len(found.err.strip().splitlines()) == 1


def test_predictions_are_a_table_that_is_never_overwritten_unasked(
    root: Path, tmp_path: Path
) -> None:
    arguments = ("predict", root / "run", root / "photos/val", "-o", tmp_path / "p.csv")
    found = labelkit(*arguments, "--top-k", 1)
    assert found.code == 0
    assert f"Wrote {tmp_path}/p.csv: 36 images" in found.out
    assert f"{WNIDS[0]}/bad.png: the file is empty" in found.out
    header, *rows = (tmp_path / "p.csv").read_text().splitlines()
    assert header == "key,class_1,name_1,probability_1,unreadable"
    assert len(rows) == 36
    assert f"{WNIDS[0]}/bad.png,,,,the file is empty" in rows
    assert labelkit(*arguments).code == 2
    assert labelkit(*arguments, "--overwrite", "--quiet").out == ""
    assert (tmp_path / "p.csv").read_text().startswith("key,class_1,name_1,probability_1,class_2,")


def test_a_table_is_comma_separated_and_not_among_missing_folders(
    root: Path, tmp_path: Path
) -> None:
    for output in ("p.parquet", "p", "none/p.csv"):
        arguments = (root / "run", root / "photos/val", "-o", tmp_path / output)
        assert labelkit("predict", *arguments).code == 2
    (tmp_path / "empty").mkdir()
    found = labelkit("predict", root / "run", tmp_path / "empty", "-o", tmp_path / "p.csv")
    assert found.code == 1
    assert "holds no images" in found.text
    assert not (tmp_path / "p.csv").exists()


def test_a_damaged_checkpoint_leaves_no_table(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "run" / "last.pt", tmp_path)
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[:1000])
    arguments = (tmp_path / "last.pt", root / "photos/val", "-o", tmp_path / "p.csv")
    found = labelkit("predict", *arguments)
    assert found.code == 1
    assert "Pass last.pt or best.safetensors of a run of labelkit train" in found.text
    assert not (tmp_path / "p.csv").exists()
