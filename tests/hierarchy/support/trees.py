"""Trees for tests: a real one, one with levels and inner nodes, and one with difficult names."""

from __future__ import annotations

from functools import cache

import numpy as np

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list

PETS = SemanticTree(
    ClassList.of(["tabby", 'an "animal"', "chat:1, x\t<&>", "héron \\", "-1"], "pets.txt"),
    ("tabby\n'cat'", "animal\r\n", "", " héron; ", "\U0001f426 ]]>"),
    np.array([2, -1, 1, 1, -1]),
    {"taxonomy": "pets", "rule": "first", "class_list": "pets.txt", "id": "é"},
)


@cache
def named_tree(name: str) -> SemanticTree:
    """The WordNet tree of a named list."""
    return SemanticTree.build(read_class_list(name), Taxonomy.wordnet())


@cache
def tree_with_levels() -> SemanticTree:
    """Classes that are all on the last level, followed by inner nodes."""
    pairs = [
        ("cat", "pet"), ("dog", "pet"), ("cow", "farm"), ("pig", "farm"), ("hen", "bird"),
        ("owl", "bird"), ("pet", "mammal"), ("farm", "mammal"), ("mammal", "animal"),
        ("bird", "animal"),
    ]  # fmt: skip
    classes = ClassList.of(["cat", "dog", "cow", "pig", "hen", "owl", "rock"], "zoo.txt")
    taxonomy = Taxonomy.from_parents(dict([*pairs, ("rock", None)]))
    tree = SemanticTree.build(classes, taxonomy, inner_levels=2)
    assert len(tree.inner)
    assert (tree.level != tree.depth).any()
    return tree


def same(one: SemanticTree, other: SemanticTree) -> bool:
    """Whether two trees are equal except for their source."""
    arrays = ("parent", "inner", "level")
    return (one.classes, one.names) == (other.classes, other.names) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )
