"""Named ranks: the columns of a table stay the levels of a tree, and classes are coarsened to them.

The oracle reads the table itself: a class's family is the cell in its row.
"""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from labelkit.convert import export_tree, import_tree
from labelkit.errors import ClassListError, TreeFileError
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    coarsen_to_depth,
    read_taxonomy,
)
from labelkit.losses import SemanticSoftmaxLoss

if TYPE_CHECKING:
    from pathlib import Path

BIRDS = """\
class,order,family,genus,species
Aves,Suliformes,Sulidae,Morus,Morus bassanus
Aves,Suliformes,Sulidae,Sula,Sula sula
Aves,,Opisthocomidae,Opisthocomus,Opisthocomus hoazin
Aves,Gruiformes,,Psophia,Psophia crepitans
Magnoliopsida,Rosales,Moraceae,Morus,Morus alba
"""


@pytest.fixture
def birds(tmp_path: Path) -> Taxonomy:
    (tmp_path / "birds.csv").write_text(BIRDS)
    return read_taxonomy(tmp_path / "birds.csv")


def above(tree: SemanticTree, rank: str) -> dict[str, str]:
    """The name of each data class's coarse class at a rank."""
    coarse = tree.at_rank(rank)
    return {
        class_id: coarse.names[coarse.index[tree.classes.index[class_id]]]
        for class_id in tree.data_classes
    }


def test_every_rank_is_a_level_even_with_a_single_branch(birds: Taxonomy) -> None:
    tree = SemanticTree.build(birds.leaves(), birds, ranks="all")
    assert tree.ranks == ("class", "order", "family", "genus", "species")
    assert tree.counts == (2, 3, 3, 5, 5)
    assert tree.data_classes == birds.leaves()
    names = [[tree.names[at] for at in nodes] for nodes in tree.levels]
    assert sorted(names[3]) == ["Morus", "Morus", "Opisthocomus", "Psophia", "Sula"]
    assert sorted(names[2]) == ["Moraceae", "Opisthocomidae", "Sulidae"]


def test_a_rank_holds_each_classs_own_cell(birds: Taxonomy) -> None:
    """A trumpeter has no family here: its genus, the highest of the finer ranks, stands in."""
    tree = SemanticTree.build(birds.leaves(), birds, ranks="all")
    assert above(tree, "family") == {
        "Morus bassanus": "Sulidae",
        "Sula sula": "Sulidae",
        "Opisthocomus hoazin": "Opisthocomidae",
        "Psophia crepitans": "Psophia",
        "Morus alba": "Moraceae",
    }
    assert above(tree, "order")["Opisthocomus hoazin"] == "Opisthocomidae"
    genus = tree.at_rank("genus")
    assert genus.how == "rank genus"
    assert genus.names.count("Morus") == 2  # the mulberry and the gannet are different genera
    assert len(set(genus.classes)) == 5
    assert tree.at_rank("species").classes == birds.leaves()
    assert tree.at_rank("class").left_out == ()


def test_some_ranks_are_kept_in_the_order_of_the_table(birds: Taxonomy) -> None:
    tree = SemanticTree.build(birds.leaves(), birds, ranks=["family", "class"])
    assert tree.ranks == ("class", "family", "species")
    assert tree.counts == (2, 3, 5)
    assert tree.chain_table[tree.classes.index["Psophia crepitans"]].tolist()[1] == -1
    assert above(tree, "family")["Psophia crepitans"] == "Psophia crepitans"
    one = SemanticTree.build(birds.leaves(), birds, ranks="family")
    assert one.ranks == ("family", "species")


CELLS = st.sampled_from(["", "a", "b"])
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8)


@given(ROWS)
@settings(deadline=None, max_examples=200)
def test_in_any_table_a_coarse_class_is_the_cells_up_to_the_rank(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    """Two classes share a coarse class exactly if their rows agree up to the rank.

    Where the rank's cell is empty, they must agree up to the next cell that is not.
    """
    path = tmp_path_factory.mktemp("ranks") / "table.csv"
    lines = [",".join((*row, f"class {number}")) for number, row in enumerate(rows)]
    path.write_text("\n".join(["x,y,z,leaf", *lines]))
    taxonomy = read_taxonomy(path, form="columns")
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, ranks="all")
    for rank in tree.ranks:
        first = ("x", "y", "z", "leaf").index(rank)
        keys = list[tuple[str, ...]]()
        for number, row in enumerate(rows):
            cells = (*row, f"class {number}")
            end = next(at for at in range(first, 4) if cells[at])
            keys.append(cells[: end + 1])
        coarse = tree.at_rank(rank)
        found = coarse.index[: len(rows)].tolist()
        assert [[one == other for one in found] for other in found] == [
            [one == other for one in keys] for other in keys
        ]
        assert [coarse.names[at] for at in found] == [key[-1] for key in keys]


@given(ROWS.map(lambda rows: [tuple(cell or "c" for cell in row) for row in rows]))
@settings(deadline=None, max_examples=50)
def test_without_empty_cells_a_rank_equals_its_depth_and_finer_ranks_refine_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("ranks") / "table.csv"
    lines = [",".join((*row, f"class {number}")) for number, row in enumerate(rows)]
    path.write_text("\n".join(["x,y,z,leaf", *lines]))
    taxonomy = read_taxonomy(path, form="columns")
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, ranks="all")
    assert np.array_equal(tree.level, tree.depth)
    for depth, rank in enumerate(tree.ranks):
        by_rank, by_depth = tree.at_rank(rank), coarsen_to_depth(tree, depth)
        assert by_rank.classes == by_depth.classes
        assert np.array_equal(by_rank.index, by_depth.index)
        coarsest, data = tree.at_rank(tree.ranks[0]), tree.is_data_class
        between = by_rank.then(coarsest)
        assert np.array_equal(between[by_rank.index[data]], coarsest.index[data])


def test_a_name_at_two_ranks_below_one_parent_is_two_nodes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("order,family,species\nX,,a\n,X,b\nX,X,c\n")
    taxonomy = read_taxonomy(tmp_path / "t.csv", form="columns")
    assert taxonomy.parents_of("a") == ("X (order)",)
    assert taxonomy.parents_of("b") == ("X (family)",)
    assert taxonomy.parents_of("c") == ("X (order)/X",)
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, ranks="all")
    assert tree.counts == (1, 2, 3)
    assert set(tree.names) == {"a", "b", "c", "X"}


def test_exclusive_classes_of_several_ranks_share_the_last_level(birds: Taxonomy) -> None:
    """Photos of a whole genus beside those of species: one softmax, as without ranks."""
    classes = ClassList.of(["Sula", "Morus bassanus", "Rosales"])
    tree = SemanticTree.build(classes, birds, ranks="all")
    assert tree.ranks[-1] == "species"
    assert tree.levels[-1].tolist() == [0, 1, 2]
    assert above(tree, "family") == {
        "Sula": "Sulidae",
        "Morus bassanus": "Sulidae",
        "Rosales": "Rosales",
    }
    genera = SemanticTree.build(ClassList.of(["Sula", "Psophia"]), birds, ranks="all")
    assert genera.ranks == ("class", "order", "family", "genus")
    assert genera.counts == (1, 2, 1, 2)


def test_classes_above_classes_are_on_the_level_of_their_rank(birds: Taxonomy) -> None:
    classes = ClassList.of(["Sula sula", "Suliformes", "Morus alba"])
    tree = SemanticTree.build(classes, birds, ranks=["family"])
    assert tree.ranks == ("order", "family", "species")
    assert [[tree.classes.ids[at] for at in nodes] for nodes in tree.levels] == [
        ["Suliformes"],
        ["Sulidae", "Moraceae"],
        ["Sula sula", "Morus alba"],
    ]
    assert above(tree, "family")["Suliformes"] == "Suliformes"  # coarser than a family


def test_the_loss_has_one_softmax_per_rank(birds: Taxonomy) -> None:
    tree = SemanticTree.build(birds.leaves(), birds, ranks="all")
    logits = torch.randn(3, len(tree.classes), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 3, 4])
    loss = SemanticSoftmaxLoss(tree, level_weights="uniform")(logits, target)
    by_hand = torch.tensor(0.0)
    for rank, nodes in zip(tree.ranks, tree.levels, strict=True):
        for row, class_id in zip(logits, (tree.classes[at] for at in target.tolist()), strict=True):
            coarse = tree.at_rank(rank)
            goal = tree.classes.index[coarse.classes[coarse.index[tree.classes.index[class_id]]]]
            if goal in nodes:  # a class without this rank has no target there
                at = nodes.tolist().index(goal)
                by_hand -= row[torch.from_numpy(nodes.copy())].log_softmax(0)[at] / 3
    torch.testing.assert_close(loss, by_hand)


def test_the_file_names_the_levels(birds: Taxonomy, tmp_path: Path) -> None:
    tree = SemanticTree.build(birds.leaves(), birds, ranks="all")
    tree.save(tmp_path / "tree.json")
    assert '\n"ranks": ["class","order","family","genus","species"],\n' in (
        tmp_path / "tree.json"
    ).read_text(encoding="utf-8")
    for other in (
        SemanticTree.load(tmp_path / "tree.json"),
        pickle.loads(pickle.dumps(tree)),  # noqa: S301 -- our own
        copy.deepcopy(tree),
        SemanticTree.from_networkx(tree.to_networkx()),
    ):
        assert other.ranks == tree.ranks
        assert other.digest == tree.digest
    export_tree(tree, tmp_path / "tree.csv")
    assert import_tree(tmp_path / "tree.csv").ranks == tree.ranks
    ordered = tree.ordered_by_level()
    assert ordered.ranks == tree.ranks
    assert above(ordered, "family") == above(tree, "family")


def test_a_renamed_rank_is_noticed(birds: Taxonomy, tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    SemanticTree.build(birds.leaves(), birds, ranks="all").save(path)
    path.write_text(path.read_text().replace('"family"', '"tribe"'))
    with pytest.raises(TreeFileError, match="was changed after it was written"):
        SemanticTree.load(path)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (["x"], "expected one name for each of 2 levels"),
        ("xy", "expected one name for each of 2 levels"),
        (["x", "x"], "each level needs its own name"),
        (["x", ""], "rank '' is not one non-empty line"),
        (["x", "a\nb"], "is not one non-empty line"),
        (["x", 3], "rank 3 is not one non-empty line"),
    ],
)
def test_wrong_names_of_levels_are_refused(ranks: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticTree(ClassList.of(["a", "b"]), ("a", "b"), np.array([-1, 0]), ranks=ranks)  # type: ignore[arg-type]


def test_a_level_with_several_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,parent,level,level_name\na,,0,order\nb,,0,family\n")
    with pytest.raises(TreeFileError, match="'b' has the level_name 'family', but another"):
        import_tree(path)
    path.write_text("id,parent,level_name\na,,order\n")
    with pytest.raises(TreeFileError, match="level_name needs level"):
        import_tree(path)


def test_a_missing_rank_is_an_error_that_lists_those_there_are(birds: Taxonomy) -> None:
    tree = SemanticTree.build(birds.leaves(), birds, ranks=["family"])
    with pytest.raises(ValueError, match="has no rank 'tribe': its ranks are family, species"):
        tree.at_rank("tribe")
    plain = SemanticTree.build(birds.leaves(), birds)
    with pytest.raises(ValueError, match=r"has no rank 'family': it has none.*--ranks all"):
        plain.at_rank("family")
    with pytest.raises(ValueError, match="has no rank 'tribe', only class, order, family, genus"):
        SemanticTree.build(birds.leaves(), birds, ranks=["tribe"])
    with pytest.raises(ValueError, match="below a node of the rank 'family'; there are nodes of"):
        SemanticTree.build(ClassList.of(["Psophia crepitans"]), birds, ranks=["class", "family"])
    with pytest.raises(ValueError, match="just one of inner_levels and ranks"):
        SemanticTree.build(birds.leaves(), birds, ranks="all", inner_levels=2)
    edges = Taxonomy.from_edges([("cat", "animal")])
    with pytest.raises(ValueError, match="custom has no ranks: only a table of columns"):
        SemanticTree.build(edges.leaves(), edges, ranks="all")


def test_a_class_that_was_added_to_the_table_has_no_rank(birds: Taxonomy) -> None:
    more = birds.with_children({"Sula nova": "Sula"})
    classes = ClassList.of(["Sula sula", "Sula nova"])
    with pytest.raises(ClassListError, match=r"'Sula nova' has no rank in birds\.csv"):
        SemanticTree.build(classes, more, ranks="all")
    assert SemanticTree.build(classes, more).counts == (2,)
