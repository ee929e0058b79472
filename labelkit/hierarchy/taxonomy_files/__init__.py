"""Taxonomies that stand in files: edge lists, tables from coarse to fine, nested JSON."""

from labelkit.hierarchy.taxonomy_files.reading import Form, read_taxonomy

__all__ = ["Form", "read_taxonomy"]
