"""Measure how easy the package is to follow; prints the figures of docs/rooms.md as a table.

    python scripts/measure_rooms.py [CHECKOUT ...]

Each checkout is a column. An import counts wherever it stands: at the top, inside a function, under
``TYPE_CHECKING`` or in a package's stub.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "labelkit"
TRACE = """
import json, os, sys, tempfile, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import labelkit, torch
from skimage import data
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from labelkit.data import LabelMapDataset
from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher

root = os.path.dirname(labelkit.__file__)

def files_run(task):
    seen = set()
    def note(frame, event, _):
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if event == "call" and file.startswith(root) and name != "<module>":
            seen.add(file)
    sys.setprofile(note)
    try:
        task()
    finally:
        sys.setprofile(None)
    return len(seen)

with tempfile.TemporaryDirectory() as folder:
    photos, maps = Path(folder, "photos"), Path(folder, "maps.h5")
    (photos / "all").mkdir(parents=True)
    for name in ("chelsea", "coffee", "rocket", "camera"):
        Image.fromarray(getattr(data, name)()).save(photos / "all" / f"{name}.jpg")
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    settings = Settings(sizes=((64,),), workers=0)
    steps = [v2.RandomResizedCrop(64, antialias=True), v2.RandomHorizontalFlip(), v2.ToImage()]
    augment = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])
    made = files_run(lambda: relabel(photos, teacher, maps, settings))
    samples = LabelMapDataset(ImageFolder(photos), maps, augment)
    samples[0]
    batch = files_run(lambda: samples.__getitems__([0, 1]))
    print(json.dumps([made, batch, files_run(lambda: samples.crop(0))]))
"""


def modules(checkout: Path) -> dict[str, list[Path]]:
    """Every module's dotted name and its files: the source, and the stub where there is one."""
    found: dict[str, list[Path]] = {}
    for path in sorted((checkout / PACKAGE).rglob("*.py*")):
        if path.suffix in {".py", ".pyi"}:
            name = ".".join(path.relative_to(checkout).with_suffix("").parts)
            found.setdefault(name.removesuffix(".__init__"), []).append(path)
    return found


def imports(name: str, path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that one file imports."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in known or base in known:
                    yield inner if inner in known else base


def import_graph(checkout: Path) -> nx.DiGraph[str]:
    """Which module imports which."""
    files = modules(checkout)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(files)
    for name, paths in files.items():
        for path in paths:
            graph.add_edges_from((name, other) for other in imports(name, path, {*files}))
    graph.remove_edges_from([*nx.selfloop_edges(graph)])
    return graph


def room(module: str) -> str:
    """The package directly below labelkit that a module is in."""
    return ".".join(module.split(".")[:2])


def is_deep(importer: str, imported: str, graph: nx.DiGraph[str]) -> bool:
    """Whether an import reaches past the face of another package."""
    other = room(imported)
    is_package = any(module.startswith(f"{other}.") for module in graph)
    return is_package and imported != other and room(importer) != other


def is_single_use(module: str, graph: nx.DiGraph[str]) -> bool:
    """Whether exactly one module imports it; a face that exports it makes it public instead."""
    importers = [*graph.predecessors(module)]
    return len(importers) == 1 and not module.startswith(f"{importers[0]}.")


def measure(checkout: Path) -> dict[str, str]:
    """All figures of one checkout."""
    graph = import_graph(checkout)
    sources = [path for paths in modules(checkout).values() for path in paths]
    single = sum(is_single_use(module, graph) for module in graph)
    circles = sum(len(group) > 1 for group in nx.strongly_connected_components(graph))
    tests = [*(checkout / "tests").rglob("*.py")]
    run = subprocess.run(
        [sys.executable, "-c", TRACE], cwd=checkout, capture_output=True, text=True, check=True
    )
    relabelled, batch, crop = json.loads(run.stdout.splitlines()[-1])
    return {
        "modules": f"{len(graph)}",
        "lines in labelkit/": f"{sum(map(count_lines, sources)):,}",
        "lines in tests/": f"{sum(map(count_lines, tests)):,}",
        "modules with exactly one importer, not exported": f"{single} ({single / len(graph):.0%})",
        "import circles": f"{circles}",
        "imports past a package's face": f"{sum(is_deep(*edge, graph) for edge in graph.edges)}",
        "files run to relabel four photos": f"{relabelled}",
        "files run for a batch of samples": f"{batch}",
        "files run to follow one crop": f"{crop}",
    }


def count_lines(path: Path) -> int:
    """Lines of one file."""
    return len(path.read_text().splitlines())


def main() -> None:
    """Print the table."""
    checkouts = [Path(name).resolve() for name in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [measure(checkout) for checkout in checkouts]
    print("| what |", *(f"{checkout.name} |" for checkout in checkouts))
    print("|---|" + "---|" * len(columns))
    for name in columns[0]:
        print(f"| {name} |", *(f"{column[name]} |" for column in columns))


if __name__ == "__main__":
    main()
