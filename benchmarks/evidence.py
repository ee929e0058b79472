"""Where label maps pay: the same student on the same photos with other labels.

Each setting is one of ``train/evidence/``'s recipes with some fields set; each row of it sets the
labels. All rows of a setting show the student equally many images. ``prepare`` links the photos,
builds the mosaics and makes the label maps; ``run`` trains what RESULTS lacks and appends one JSON
line per finished run, so that it can be stopped and started at any time; ``table`` prints
accuracies after the last epoch, which no choice was made on, and ``picture`` draws some of them.

Choices (label smoothing, MixUp, CutMix, temperature, share of the own label) are made by ``run
--tune`` with one seed on photos held out from the training data, never on the evaluation data.

    python benchmarks/evidence.py prepare WORK --imagenette PATH --tiny-imagenet PATH
    python benchmarks/evidence.py run WORK --setting tenth noise --seed 0 1 2
    python benchmarks/evidence.py table WORK
    python benchmarks/evidence.py picture train/evidence/results.jsonl docs/images/evidence.png
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from labelkit.hierarchy import ClassList
from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher
from labelkit.train import read_recipe, train

RECIPES = Path(__file__).parent.parent / "train" / "evidence"
HELD_OUT = 0.15  # of each class's training photos, for tuning
MOSAICS, SIDE = 4000, 96  # how many, and the side in pixels of one of the four photos
APART = 60  # photos of each class that are in no mosaic
TUNING_SEED = 100


@dataclass(frozen=True)
class Setting:
    """One question.

    Attributes:
        title: in words.
        recipe: which of the recipes.
        data: folder below WORK with ``train``, ``val``, and ``fit`` and ``dev`` for tuning.
        changes: fields that all rows set.
    """

    title: str
    recipe: str
    data: str
    changes: tuple[str, ...] = ()


SETTINGS = {
    "tenth": Setting("10 % of the labels", "imagenette", "imagenette", ("data.labels=10%",)),
    "noise": Setting("20 % wrong labels", "imagenette", "imagenette", ("data.noise=0.2",)),
    "clean": Setting("all labels right", "imagenette", "imagenette"),
    "tiny-10": Setting("Tiny ImageNet, 10 photos a class", "tiny-imagenet", "tiny-10"),
    "tiny-50": Setting("Tiny ImageNet, 50 photos a class", "tiny-imagenet", "tiny-50"),
    "mosaics": Setting(
        "four photos in one, one label", "imagenette", "mosaics", ("data.crop_scale=[0.08, 0.5]",)
    ),
    "mosaics-small": Setting(
        "the same, small crops only", "imagenette", "mosaics", ("data.crop_scale=[0.08, 0.3]",)
    ),
    "mosaics-2": Setting(
        "two photos in one, one label", "imagenette", "mosaics-2", ("data.crop_scale=[0.08, 0.5]",)
    ),
    "tiny-50-x2": Setting(
        "Tiny ImageNet, 50 photos a class, twice as long",
        "tiny-imagenet",
        "tiny-50",
        ("schedule.images=120000",),
    ),
    **{
        f"{name}-x{factor}": Setting(
            f"{title}, {factor} times as long",
            "imagenette",
            "imagenette",
            (f"schedule.images={36000 * factor}", *changes),
        )
        for factor in (2, 4)
        for name, title, changes in (
            ("tenth", "10 % of the labels", ("data.labels=10%",)),
            ("noise", "20 % wrong labels", ("data.noise=0.2",)),
            ("clean", "all labels right", ()),
        )
    },
}
ROWS = {
    "hard": ('labels={kind="hard"}',),
    "smoothing": ('labels={kind="hard",label_smoothing=0.1}',),
    "mixup": ('labels={kind="hard"}', "mix.mixup=0.2"),
    "cutmix": ('labels={kind="hard"}', "mix.cutmix=1.0"),
    "pseudo": ("labels.label=global-single",),
    "global": ("labels.label=global-multi",),
    "local-single": ("labels.label=local-single",),
    "maps": (),
    "maps-lite2": (),
    "maps-320px": (),
    "half-T2-320px": ("labels.original=0.5", "labels.temperature=2"),
    "rest-320px": ("labels.other=label",),
    "rest-T2-320px": ("labels.other=label", "labels.temperature=2"),
    "half-rest-T2-320px": (
        "labels.other=label",
        "labels.original=0.5",
        "labels.temperature=2",
    ),
    "plain-maps": ("labels.calibrated=false",),
    "maps-T2": ("labels.temperature=2",),
    "half": ("labels.original=0.5",),
    "half-T2": ("labels.original=0.5", "labels.temperature=2"),
    "maps-mixup": ("mix.mixup=0.2",),
    "maps-cutmix": ("mix.cutmix=1.0",),
    "live": ('labels={kind="distillation",teacher="efficientnet-lite0"}',),
}


def link(paths: list[Path], root: Path, name: str, part: str) -> None:
    """Link photos into the folder of a class."""
    folder = root / part / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if not target.is_symlink():
            target.symlink_to(path.resolve())


def link_classes(source: Path, root: Path, per_class: int | None = None) -> None:
    """``train`` and ``val`` of a data set, and ``fit`` and ``dev``, which share ``train``."""
    for folder in sorted((source / "train").iterdir()):
        photos = sorted(folder.iterdir())[:per_class]
        cut = len(photos) - max(round(HELD_OUT * len(photos)), 1)
        for part, chosen in (("train", photos), ("fit", photos[:cut]), ("dev", photos[cut:])):
            link(chosen, root, folder.name, part)
    for folder in sorted((source / "val").iterdir()):
        link(sorted(folder.iterdir()), root, folder.name, "val")


def square(path: Path) -> Image.Image:
    """The centre of a photo, ``SIDE`` pixels wide and high."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )


def write_mosaics(source: Path, root: Path, count: int) -> None:
    """Two or four photos of different classes in one JPEG, in the folder of one of them.

    ``dev`` has single photos that are in no mosaic.
    """
    folders = sorted((source / "train").iterdir())
    photos = [sorted(folder.iterdir()) for folder in folders]
    random = np.random.default_rng(0)
    for number in range(MOSAICS):
        drawn = random.choice(len(folders), count, replace=False)
        shown = [photos[each][random.integers(len(photos[each]) - APART)] for each in drawn]
        places = random.permutation(count)
        name = folders[drawn[0]].name
        path = root / "train" / name / f"{number:05d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            mosaic = Image.new("RGB", (2 * SIDE, count // 2 * SIDE))
            for place, each in zip(places, shown, strict=True):
                mosaic.paste(square(each), (int(place) % 2 * SIDE, int(place) // 2 * SIDE))
            mosaic.save(path, quality=90)
        link([path], root, name, "fit")
    for folder, photo in zip(folders, photos, strict=True):
        link(photo[-APART:], root, folder.name, "dev")
        link(sorted((source / "val" / folder.name).iterdir()), root, folder.name, "val")


def prepare(work: Path, imagenette: Path, tiny: Path | None) -> None:
    """Make the folders and their label maps."""
    link_classes(imagenette, work / "imagenette")
    if tiny is not None:
        link_classes(tiny, work / "tiny-50")
        link_classes(tiny, work / "tiny-10", 10)
    write_mosaics(imagenette, work / "mosaics", 4)
    write_mosaics(imagenette, work / "mosaics-2", 2)
    for name, (data, teacher, sizes) in MAPS.items():
        folder = work / data / "train"
        if not folder.exists():
            continue
        classes = ClassList.of(sorted(each.name for each in folder.iterdir()))
        settings = Settings(classes=classes, sizes=sizes, workers=0)
        path = work / f"{name}.h5"
        found = relabel(folder, load_teacher(teacher, device="cpu"), path, settings)
        print(f"{path}: {found.images:,} images, {path.stat().st_size:,} bytes", flush=True)


# Rows that use no labels of the data are the same runs where only its labels differ.
WITHOUT_LABELS = frozenset(row for row in ROWS if not row.startswith(("hard", "half", "rest"))) - {
    *("smoothing", "mixup", "cutmix")
}
SAME_PHOTOS = {
    "noise": "tenth",
    "clean": "tenth",
    **{f"{name}-x{factor}": f"tenth-x{factor}" for factor in (2, 4) for name in ("noise", "clean")},
}

SAME_MAPS = {"tiny-10": "tiny-50"}  # made from the larger folder, of which it is a part
# The size for Tiny ImageNet was chosen by how often whole images agree with their folders, on
# photos held out from the training data.
MAPS = {
    "imagenette": ("imagenette", "efficientnet-lite0", ()),
    "imagenette-lite2": ("imagenette", "efficientnet-lite2", ()),
    "tiny-50": ("tiny-50", "efficientnet-lite0", (160,)),
    "tiny-50-320px": ("tiny-50", "efficientnet-lite0", (320,)),
    "mosaics": ("mosaics", "efficientnet-lite0", (448,)),
    "mosaics-2": ("mosaics-2", "efficientnet-lite0", (448,)),
}


def maps_of(data: str, row: str) -> str:
    """The name in ``MAPS`` of the label maps of a row."""
    name = SAME_MAPS.get(data, data)
    return next((each for each in MAPS if each == f"{name}-{row.rpartition('-')[2]}"), name)


def trained_as(name: str, row: str) -> str:
    """The setting whose run a row of a setting is."""
    return SAME_PHOTOS.get(name, name) if row in WITHOUT_LABELS else name


def fields(work: Path, name: str, row: str, seed: int) -> list[str]:
    """The recipe's fields that a run sets, as ``labelkit train --set`` takes them."""
    setting = SETTINGS[name]
    parts = ("fit", "dev") if seed >= TUNING_SEED else ("train", "val")
    data = work / setting.data
    return [
        f"data.train={data / parts[0]}",
        f"data.val={data / parts[1]}",
        f"labels.maps={work / maps_of(setting.data, row)}.h5",
        f"run.seed={seed}",
        f"run.output={work / 'runs' / f'{name}-{row}-{seed}'}",
        *setting.changes,
        *ROWS[row],
    ]


def run(work: Path, results: Path, chosen: list[tuple[str, str, int]]) -> None:
    """Train what is not in ``results`` yet, and append a line for each finished run."""
    lines = results.read_text().splitlines() if results.exists() else []
    finished = {(r["setting"], r["row"], r["seed"]) for r in map(json.loads, lines)}
    for asked, row, seed in chosen:
        name = trained_as(asked, row)
        if (name, row, seed) in finished:
            continue
        recipe = read_recipe(
            RECIPES / f"{SETTINGS[name].recipe}.toml", fields(work, name, row, seed)
        )
        started = time.perf_counter()
        result = train(recipe)
        last = result.records[-1]
        line = {
            "setting": name,
            "row": row,
            "seed": seed,
            "top1": last.metrics["top1"],
            "loss": last.metrics["loss"],
            "epochs": last.epoch,
            "seconds": round(time.perf_counter() - started, 1),
            "images_per_second": statistics.median(r.images_per_second for r in result.records),
        }
        finished.add((name, row, seed))
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)
        shutil.rmtree(recipe.run.output)


def collect(results: Path, *, tuning: bool) -> dict[str, dict[str, list[dict[str, float]]]]:
    """The runs of each row of each setting."""
    found: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in results.read_text().splitlines():
        entry = json.loads(line)
        if (entry["seed"] >= TUNING_SEED) == tuning:
            for name in SETTINGS:
                if trained_as(name, entry["row"]) == entry["setting"]:
                    found[name][entry["row"]].append(entry)
    return found


def spread(runs: list[dict[str, float]]) -> tuple[float, float]:
    """Mean and standard deviation of the accuracy."""
    values = [each["top1"] for each in runs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def print_table(results: Path, *, tuning: bool) -> None:
    """Accuracy after the last epoch: one Markdown table per setting."""
    for name, rows in collect(results, tuning=tuning).items():
        print(
            f"\n{SETTINGS[name].title}\n\n| labels | top-1 | seeds | seconds |\n|---|---|---|---|"
        )
        for row, runs in sorted(rows.items(), key=lambda each: list(ROWS).index(each[0])):
            mean, deviation = spread(runs)
            seconds = statistics.median(each["seconds"] for each in runs)
            spread_over = f" ± {deviation:.1f}" if len(runs) > 1 else ""
            print(f"| {row} | {mean:.1f}{spread_over} | {len(runs)} | {seconds:.0f} |")


HARD = ("hard", "smoothing", "mixup", "cutmix")
BARS = (
    ("hard labels, the best of four ways", HARD, "#9aa0a8"),
    ("label maps", ("maps",), "#1f6f8b"),
)
SHOWN = ("tenth", "noise", "mosaics", "clean")


def draw_bars(results: Path, picture: Path) -> None:
    """Hard labels beside label maps in four settings, with the spread over seeds."""
    found = collect(results, tuning=False)
    figure = Figure((9.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (label, rows, colour) in enumerate(BARS):
        figures = [
            max(spread(found[name][row]) for row in rows if row in found[name]) for name in SHOWN
        ]
        means, deviations = zip(*figures, strict=True)
        positions = [at + 0.38 * (place - 0.5) for at in range(len(SHOWN))]
        axes.bar(positions, means, 0.36, yerr=deviations, capsize=3, color=colour, label=label)
        for at, mean in zip(positions, means, strict=True):
            axes.text(at, mean + 1.5, f"{mean:.1f}", ha="center")
    axes.set_xticks(range(len(SHOWN)), [SETTINGS[name].title for name in SHOWN])
    axes.set_ylabel("top-1, %")
    axes.set_ylim(0, 85)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="upper left")
    figure.savefig(picture, dpi=150)


def main() -> None:
    """Do one of the five steps."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    steps = parser.add_subparsers(dest="step", required=True)
    preparing = steps.add_parser(
        "prepare",
        help="link photos, build mosaics, and make label maps, which takes longest",
    )
    preparing.add_argument("work", type=Path)
    folders = "folder with train and val, and in these a folder per class"
    preparing.add_argument("--imagenette", type=Path, required=True, help=folders)
    preparing.add_argument("--tiny-imagenet", type=Path, help=f"{folders}; for its settings")
    running = steps.add_parser("run", help="train what results.jsonl in WORK lacks")
    running.add_argument("work", type=Path)
    running.add_argument(
        "--setting",
        nargs="+",
        choices=SETTINGS,
        default=list(SETTINGS),
        help="; ".join(f"{name}: {each.title}" for name, each in SETTINGS.items()).replace(
            "%", "%%"
        ),
    )
    running.add_argument(
        "--row",
        nargs="+",
        choices=ROWS,
        default=["hard", "pseudo", "maps"],
        help="what a run sets; ROWS in this file has the fields of each",
    )
    running.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    running.add_argument("--tune", action="store_true", help="one run each, on held-out photos")
    printing = steps.add_parser("table", help="print a table of each setting")
    printing.add_argument("work", type=Path)
    printing.add_argument("--tune", action="store_true")
    drawing = steps.add_parser("picture", help="draw bars")
    drawing.add_argument("results", type=Path)
    drawing.add_argument("picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    match options.step:
        case "prepare":
            prepare(options.work, options.imagenette, options.tiny_imagenet)
        case "run":
            seeds = [TUNING_SEED] if options.tune else options.seed
            chosen = [
                (name, row, seed)
                for seed in seeds
                for name in options.setting
                for row in options.row
            ]
            run(options.work, options.work / "results.jsonl", chosen)
        case "table":
            print_table(options.work / "results.jsonl", tuning=options.tune)
        case _:
            draw_bars(options.results, options.picture)


if __name__ == "__main__":
    main()
