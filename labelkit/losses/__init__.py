"""Soft, sparse and semantic losses."""
