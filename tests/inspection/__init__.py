"""Summaries, pictures and pages of what was made."""
