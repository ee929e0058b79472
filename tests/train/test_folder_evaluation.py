"""An evaluation equals the run's log, and figures that other code computes from its predictions."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score
from torch.nn.functional import cross_entropy

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.metrics import HierarchicalDistance, real_labels
from labelkit.train import (
    Classifier,
    evaluate_folder,
    load_classifier,
    predict_folder,
    read_recipe,
    train,
)
from tests.oracles.metrics import calibration_error, distance_between
from tests.train.support import (
    WNIDS,
    draw_wnid_folders,
    recipe_text,
    save_maps,
    save_tree,
)

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.train import FolderEvaluation, TrainingResult


def run(folder: Path, photos: Path, labels: str = 'kind = "hard"', *changes: str) -> TrainingResult:
    (folder / "r.toml").write_text(recipe_text(photos, labels, epochs=2))
    return train(read_recipe(folder / "r.toml", [f"run.output={folder / 'run'}", *changes]))


def evaluated(checkpoint: Path, data: Path, **options: object) -> dict[str, float]:
    found = evaluate_folder(load_classifier(checkpoint, device="cpu"), data, **options)
    return found.metrics


@pytest.fixture(scope="module")
def wnids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak run on seven classes, which confuses most of them: ``photos`` and ``run``."""
    root = tmp_path_factory.mktemp("wnids")
    photos = draw_wnid_folders(root / "photos")
    run(root, photos, 'kind = "hard"', "schedule.epochs=6")
    return root


@pytest.fixture
def labels_of(tmp_path: Path, photos: Path, kind: str) -> str:
    tree = save_tree(tmp_path / "tree.json")
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    return {
        "hard": 'kind = "hard"\nlabel_smoothing = 0.1',
        "tree": f'kind = "semantic-softmax"\ntree = "{tree}"\nlevel_weights = "uniform"',
        "maps": f'kind = "label-maps"\nmaps = "{maps}"',
        "maps on a tree": f'kind = "label-maps"\nmaps = "{maps}"\ntree = "{tree}"',
    }[kind]


@pytest.mark.parametrize("kind", ["hard", "tree", "maps", "maps on a tree"])
def test_the_log_s_last_line_is_reproduced_to_the_last_digit(
    tmp_path: Path, photos: Path, labels_of: str
) -> None:
    """Also with workers; and the best epoch's line by the exported weights."""
    result = run(tmp_path, photos, labels_of)
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["metrics"]
    for workers in (0, 2):
        found = evaluated(tmp_path / "run" / "last.pt", photos / "val", workers=workers)
        assert {name: found[name] for name in last} == last
    found = evaluated(tmp_path / "run", photos / "val")
    assert {name: found[name] for name in last} == result.best.metrics


def test_unreadable_images_are_listed_and_change_no_digit(tmp_path: Path, photos: Path) -> None:
    """They would shift the batches, whose mean losses are summed."""
    shutil.copytree(photos, tmp_path / "photos")
    val = tmp_path / "photos" / "val"
    (val / "apple" / "0000.png").write_bytes(b"broken")
    (val / "leaf" / "001b.png").write_bytes(b"")
    result = run(tmp_path, tmp_path / "photos", 'kind = "hard"', "data.unreadable=skip")
    classifier = load_classifier(tmp_path / "run" / "last.pt", device="cpu")
    found = evaluate_folder(classifier, val)
    assert {"loss": found.metrics["loss"], "top1": found.metrics["top1"]} == (
        result.records[-1].metrics
    )
    assert found.images == 24
    assert found.unreadable.keys() == {"apple/0000.png", "leaf/001b.png"}
    assert found.unreadable["leaf/001b.png"] == "the file is empty"


def test_all_images_unreadable_is_an_error(tmp_path: Path, wnids: Path) -> None:
    (tmp_path / WNIDS[0]).mkdir()
    (tmp_path / WNIDS[0] / "a.png").touch()
    with pytest.raises(DatasetError, match=r"none of the images can be read, such as .*a\.png"):
        evaluated(wnids / "run", tmp_path)


def logits_of(classifier: Classifier, keys: list[str], val: Path) -> torch.Tensor:
    """Pillow and the recipe's numbers by hand: 32 px, crop_pct 0.875, test_resnet's statistics."""
    images = []
    for key in keys:
        image = Image.open(val / key).convert("RGB")
        array = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        pixels = torch.nn.functional.interpolate(
            torch.from_numpy(array)[None], 37, mode="bilinear", antialias=True, align_corners=False
        )[0, :, 2:34, 2:34]
        pixels = (pixels * 255).round() / 255
        images.append((pixels - 0.5) / 0.5)
    with torch.no_grad():
        return classifier.model(torch.stack(images))


def test_predictions_are_those_of_the_model_on_images_prepared_by_hand(wnids: Path) -> None:
    classifier = load_classifier(wnids / "run", device="cpu")
    val = wnids / "photos" / "val"
    found = list(predict_folder(classifier, val, top_k=7))
    expected = logits_of(classifier, [each.key for each in found], val).softmax(1)
    for each, row in zip(found, expected, strict=True):
        got = torch.zeros(7).scatter(
            0, torch.tensor(each.classes), torch.tensor(each.probabilities)
        )
        assert torch.allclose(got, row, atol=1e-3)  # a pixel may be rounded the other way


class Counted(NamedTuple):
    """An evaluation, and what the predictions of the same images say.

    ``target`` and ``best`` are (N,), ``shares`` (N, 7), ``table`` is sklearn's confusion matrix.
    """

    found: FolderEvaluation
    target: np.ndarray
    shares: np.ndarray
    best: np.ndarray
    table: np.ndarray
    tree: SemanticTree

    def distance(self, one: int, other: int) -> float:
        """The height of the lowest common ancestor of two classes."""
        nodes = [self.tree.classes.index[WNIDS[at]] for at in (one, other)]
        return distance_between(self.tree.parent.tolist(), *nodes, "height")


@pytest.fixture(scope="module")
def counted(wnids: Path) -> Counted:
    classifier, val = load_classifier(wnids / "run", device="cpu"), wnids / "photos" / "val"
    tree = SemanticTree.build(
        ClassList.of(WNIDS[::-1]), Taxonomy.wordnet(rule="longest"), inner_levels="all"
    )
    predictions = list(predict_folder(classifier, val, top_k=7))
    target = np.array([WNIDS.index(each.key.split("/")[0]) for each in predictions])
    shares = np.zeros((len(target), 7))
    for row, each in zip(shares, predictions, strict=True):
        row[list(each.classes)] = each.probabilities
    best = shares.argmax(1)
    table = confusion_matrix(target, best, labels=range(7))
    found = evaluate_folder(classifier, val, tree=tree)
    return Counted(found, target, shares, best, table, tree)


def test_accuracies_and_calibration_equal_sklearn_s_and_a_plain_loop_s(counted: Counted) -> None:
    metrics, target, shares, best = counted.found.metrics, *counted[1:4]
    assert 0 < metrics["top1"] < metrics["top5"] < 100  # a weak model: there are mistakes to count
    assert metrics["top1"] == pytest.approx(100 * accuracy_score(target, best))
    top5 = top_k_accuracy_score(target, shares, k=5, labels=range(7))
    assert metrics["top5"] == pytest.approx(100 * top5)
    expected = calibration_error(shares.max(1).tolist(), (best == target).tolist())
    assert metrics["calibration_error"] == pytest.approx(expected, abs=1e-3)


def test_distances_of_mistakes_are_those_between_label_and_prediction(counted: Counted) -> None:
    metrics, wrong = counted.found.metrics, counted.target != counted.best
    between = np.array(list(map(counted.distance, counted.target, counted.best)))
    assert metrics["mistake_distance"] == pytest.approx(between[wrong].mean())
    assert metrics["hierarchical_distance"] == pytest.approx(between.mean())


def test_confusions_are_the_cells_of_sklearn_s_table_off_its_diagonal(counted: Counted) -> None:
    table, confusions = counted.table, counted.found.confusions
    for pair in confusions:
        row, column = WNIDS.index(pair.label), WNIDS.index(pair.predicted)
        assert pair.images == table[row, column]
        assert pair.share == pytest.approx(100 * table[row, column] / table[row].sum())
        assert pair.distance == counted.distance(row, column)
    assert len(confusions) == np.count_nonzero(table - np.diag(np.diag(table)))
    counts = [pair.images for pair in confusions]
    assert counts == sorted(counts, reverse=True)


def test_classes_are_the_rows_of_sklearn_s_table_the_worst_first(counted: Counted) -> None:
    table, classes = counted.table, counted.found.classes
    for each in classes:
        row = WNIDS.index(each.id)
        assert each.images == 5
        assert each.top1 == pytest.approx(100 * table[row, row] / 5)
        others = np.where(np.arange(7) == row, 0, table[row])
        if others.any():
            assert table[row, WNIDS.index(each.mistaken_for)] == others.max()
    assert [each.top1 for each in classes] == sorted(each.top1 for each in classes)
    top5_by_class = np.mean([each.top5 for each in classes])  # as many images each
    assert counted.found.metrics["top5"] == pytest.approx(top5_by_class)


def test_distances_equal_the_metric_s(wnids: Path) -> None:
    """The metric takes logits, and the tree here has the classes in the model's order."""
    classifier, val = load_classifier(wnids / "run", device="cpu"), wnids / "photos" / "val"
    tree = SemanticTree.build(ClassList.of(WNIDS), Taxonomy.wordnet(), inner_levels="all")
    found = evaluate_folder(classifier, val, tree=tree)
    predictions = list(predict_folder(classifier, val, top_k=7))
    logits = torch.stack(
        [
            torch.zeros(7).scatter(0, torch.tensor(each.classes), torch.tensor(each.probabilities))
            for each in predictions
        ]
    )
    target = torch.tensor([WNIDS.index(each.key.split("/")[0]) for each in predictions])
    severity = HierarchicalDistance(tree, mistakes_only=True)
    severity.update(logits, target)
    assert found.metrics["mistake_distance"] == pytest.approx(severity.compute())


def test_a_tree_without_one_of_the_classes_is_refused(wnids: Path) -> None:
    tree = SemanticTree.build(ClassList.of(WNIDS[1:]), Taxonomy.wordnet(), inner_levels="all")
    with pytest.raises(ClassListMismatch, match=rf"lacks classes of .*: {WNIDS[0]}\."):
        evaluated(wnids / "run", wnids / "photos" / "val", tree=tree)


def first_predictions(wnids: Path) -> dict[str, str]:
    classifier = load_classifier(wnids / "run", device="cpu")
    found = predict_folder(classifier, wnids / "photos" / "val", top_k=1)
    return {each.key: WNIDS[each.classes[0]] for each in found}


def test_real_labels_are_found_by_the_names_of_imagenet_s_images(wnids: Path) -> None:
    """Of 35 images, six have a reassessed label among the seven classes."""
    from labelkit.hierarchy import read_class_list

    ids = read_class_list("imagenet-1k")
    hits, counted = 0, 0
    for key, predicted in first_predictions(wnids).items():
        row = real_labels()[int(key[-12:-4]) - 1].tolist()
        correct = {ids[label] for label in row if label >= 0} & set(WNIDS)
        counted += bool(correct)
        hits += predicted in correct
    found = evaluate_folder(load_classifier(wnids / "run", device="cpu"), wnids / "photos" / "val")
    assert (found.real_images, counted) == (6, 6)
    assert found.metrics["real"] == pytest.approx(100 * hits / counted)


def test_several_correct_labels_come_from_a_file_by_key(wnids: Path, tmp_path: Path) -> None:
    """Two images are given what was predicted, one something else, one a class of no model."""
    predictions = first_predictions(wnids)
    keys = list(predictions)
    other = next(wnid for wnid in WNIDS if wnid != predictions[keys[2]])
    labels = {
        keys[0]: [predictions[keys[0]]],
        keys[1]: ["n01440764", predictions[keys[1]]],
        keys[2]: [other],
        keys[3]: ["n01440764"],
    }
    (tmp_path / "real.json").write_text(json.dumps(labels))
    found = evaluate_folder(
        load_classifier(wnids / "run", device="cpu"),
        wnids / "photos" / "val",
        real=tmp_path / "real.json",
    )
    assert found.real_images == 3
    assert found.metrics["real"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"no/such.png": ["n01735189"]}', "has no label in .* for any of the 35 images"),
        ("[[1000]]", "has label 1000 for .*00000001.png, expected 0 to 999"),
        ('{"a": 1}', "damaged"),
        ("[", "damaged"),
    ],
)
def test_a_file_of_labels_that_does_not_fit_is_refused(
    wnids: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        evaluated(wnids / "run", wnids / "photos" / "val", real=tmp_path / "real.json")


def test_some_classes_are_evaluated_among_all_or_among_themselves(wnids: Path) -> None:
    classifier, val = load_classifier(wnids / "run", device="cpu"), wnids / "photos" / "val"
    chosen = ClassList.of([WNIDS[4], WNIDS[1]])
    of_all = list(predict_folder(classifier, val, top_k=7))
    images = [each for each in of_all if each.key.split("/")[0] in chosen.ids]
    for among, ranked in (("all", range(7)), ("data", (1, 4))):
        found = evaluate_folder(classifier, val, classes=chosen, among=among)
        best = [next(at for at in each.classes if at in ranked) for each in images]
        hits = [WNIDS[at] == each.key.split("/")[0] for at, each in zip(best, images, strict=True)]
        assert found.metrics["top1"] == pytest.approx(100 * np.mean(hits))
        assert (found.images, found.data_classes, found.competing) == (10, 2, len(ranked))
        shares = []
        for each in images:
            of = dict(zip(each.classes, each.probabilities, strict=True))
            shares.append(max(of[at] for at in ranked) / sum(of[at] for at in ranked))
        expected = calibration_error(shares, hits)
        assert found.metrics["calibration_error"] == pytest.approx(expected, abs=1e-3)
    assert "top5" not in found.metrics
    assert all(each.top5 is None for each in found.classes)


def test_the_loss_is_over_all_outputs_whatever_competes(wnids: Path) -> None:
    classifier, val = load_classifier(wnids / "run", device="cpu"), wnids / "photos" / "val"
    keys = sorted(path.relative_to(val).as_posix() for path in val.rglob(f"{WNIDS[1]}/*.png"))
    logits = classifier.logits(
        torch.stack([classifier.transform(Image.open(val / key)) for key in keys]), keys
    )
    expected = cross_entropy(logits, torch.full((5,), 1))
    only = evaluated(wnids / "run", val, classes=ClassList.of([WNIDS[1]]), among="data")
    assert only["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert only["top1"] == 100


def test_a_run_with_coarse_classes_takes_fine_and_coarse_folders(
    tmp_path: Path, photos: Path
) -> None:
    from labelkit.hierarchy import coarsen_to_depth, save_coarsening

    taxonomy = Taxonomy.from_edges([("apple", "thing"), ("leaf", "thing"), ("sky", "nothing")])
    tree = SemanticTree.build(ClassList.of(["apple", "leaf", "sky"]), taxonomy, inner_levels="all")
    save_coarsening(coarsen_to_depth(tree, 0), tmp_path / "coarse.json")
    result = run(tmp_path, photos, 'kind = "hard"', f"data.coarsening={tmp_path / 'coarse.json'}")
    classifier = load_classifier(tmp_path / "run" / "last.pt", device="cpu")
    found = evaluate_folder(classifier, photos / "val")
    assert {name: found.metrics[name] for name in ("loss", "top1")} == result.records[-1].metrics
    for name in classifier.classes:
        (tmp_path / "coarse" / name).mkdir(parents=True)
    for path in (photos / "val").rglob("*.png"):
        name = "sky" if path.parent.name == "sky" else "thing"
        shutil.copy(path, tmp_path / "coarse" / name / f"{path.parent.name}-{path.name}")
    again = evaluate_folder(classifier, tmp_path / "coarse")
    assert again.metrics["top1"] == found.metrics["top1"]


def test_a_tree_of_several_levels_has_semantic_accuracy_by_class(
    tmp_path: Path, photos: Path
) -> None:
    tree = save_tree(tmp_path / "tree.json")
    run(tmp_path, photos, f'kind = "semantic-softmax"\ntree = "{tree}"', "schedule.epochs=1")
    classifier = load_classifier(tmp_path / "run", device="cpu")
    found = evaluate_folder(classifier, photos / "val")
    assert found.competing == 0
    assert found.missing.keys() == {"top1", "calibration_error", "mistake_distance"}
    assert {each.id for each in found.classes} == {"apple", "leaf", "sky"}
    chains = {"apple": ["thing", "apple"], "leaf": ["thing", "leaf"], "sky": ["nothing", "sky"]}
    hits = {name: [] for name in chains}
    for each in predict_folder(classifier, photos / "val"):
        name = each.key.split("/")[0]
        predicted = [classifier.classes[at] for at in each.classes]
        hits[name] += [one == other for one, other in zip(predicted, chains[name], strict=True)]
    for each in found.classes:
        assert each.semantic_accuracy == pytest.approx(100 * np.mean(hits[each.id]))
        assert each.top1 is None
    overall = np.mean([hit for of_class in hits.values() for hit in of_class])
    assert found.metrics["semantic_accuracy"] == pytest.approx(100 * overall)


def test_folders_that_do_not_fit_are_named_with_what_to_do(tmp_path: Path, wnids: Path) -> None:
    def folders(name: str, *names: str) -> Path:
        for each in names:
            (tmp_path / name / each).mkdir(parents=True)
            shutil.copy(next((wnids / "photos").rglob("*.png")), tmp_path / name / each / "a.png")
        return tmp_path / name

    for data, message in (
        (wnids / "photos", r"train, val\. Pass the folder of one split, such as .*/val"),
        (folders("some", WNIDS[0], "cat"), r"7 classes of .*: cat\. .*--classes FILE"),
        (folders("none", "cat", "dog"), r"cat, dog\. Folders are matched to classes by name"),
        (folders("numbers", "0", "1"), "They look like indices"),
    ):
        with pytest.raises(ClassListMismatch, match=message):
            evaluated(wnids / "run", data)
    only = evaluated(wnids / "run", tmp_path / "some", classes=ClassList.of([WNIDS[0]]))
    assert "top1" in only
    with pytest.raises(ClassListMismatch, match=rf"no images of 1 class of .*: {WNIDS[1]}\."):
        evaluated(wnids / "run", tmp_path / "some", classes=ClassList.of(WNIDS[:2]))


@pytest.mark.parametrize("kind", ["missing", "empty", "images", "empty class"])
def test_a_folder_without_class_folders_is_refused(tmp_path: Path, wnids: Path, kind: str) -> None:
    data = tmp_path / "data"
    if kind != "missing":
        data.mkdir()
    if kind == "images":
        Image.new("RGB", (8, 8)).save(data / "a.png")
    if kind == "empty class":
        (data / WNIDS[0]).mkdir()
    error, message = {
        "missing": (FileNotFoundError, "no such folder or file"),
        "images": (DatasetError, "one folder of images per class.*predict"),
    }.get(kind, (DatasetError, "holds no images"))
    with pytest.raises(error, match=message):
        evaluated(wnids / "run", data)
