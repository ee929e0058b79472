"""Accuracies that know the tree."""
