"""WordNet's nouns as a taxonomy, and ImageNet's choice of one parent for each."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.parent_rules import Rule, first_parents
from labelkit.hierarchy.taxonomy import Taxonomy
from labelkit.hierarchy.wordnet.noun_graph import ParentTable, SynsetGraph, noun_graph

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def packaged_wordnet(rule: Rule) -> Taxonomy:
    """The WordNet 3.0 that comes with labelkit.

    Raises:
        ValueError: no such rule.
    """
    return _of_nouns(noun_graph(), rule)


def wordnet_copy(copy: str | Path, rule: Rule) -> Taxonomy:
    """Another copy of WordNet; ``Taxonomy.wordnet`` says what it may be.

    Raises:
        TaxonomyError: the copy is missing, damaged, or not of the version that the rule needs.
        ValueError: no such rule.
    """
    from labelkit.hierarchy.wordnet.copies import open_wordnet

    return _of_nouns(open_wordnet(copy), rule)


def with_imagenet_parents(taxonomy: Taxonomy) -> Taxonomy:
    """The same graph, each noun with the parent that ImageNet's own tree gives it.

    Raises:
        TaxonomyError: ImageNet's table names parents that this graph does not have.
    """
    table = ParentTable.read()
    first = taxonomy.with_rule("first")
    try:
        chosen = first.with_parents(table.parent_of)
    except TaxonomyError as error:
        way_out = (
            "choose the rule before you give ids of your own"
            if "custom_ids" in taxonomy.source
            else "take another rule (first, shortest, longest), or labelkit's own WordNet"
        )
        raise TaxonomyError(
            f"ImageNet's parents are those of WordNet 3.0 with its own ids, not of "
            f"{taxonomy.source['taxonomy']}: {way_out}"
        ) from error
    source = {**first.source, "rule": "imagenet", "parent_table": f"sha256:{table.digest}"}
    return replace(chosen, source=source)


def _of_nouns(graph: SynsetGraph, rule: Rule) -> Taxonomy:
    taxonomy = Taxonomy(
        ids=graph.ids,
        index=graph.index,
        names=graph.lemmas,
        parents_start=graph.hypernym_start,
        parents=graph.hypernym,
        parent=first_parents(graph.hypernym_start, graph.hypernym),
        source={"taxonomy": f"WordNet {graph.version}".strip(), "rule": "first"},
    )
    return taxonomy if rule == "first" else taxonomy.with_rule(rule)
