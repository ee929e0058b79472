"""Tests of summaries, pictures and pages."""
