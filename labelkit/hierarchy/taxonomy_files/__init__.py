"""Taxonomies in files: edge lists, tables from coarse to fine, nested JSON."""
