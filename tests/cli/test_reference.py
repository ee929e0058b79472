"""The reference pages in the docs say what the commands and docstrings say."""

from scripts import make_api_reference, make_command_reference


def test_the_command_reference_is_up_to_date():
    """Red? Run: python scripts/make_command_reference.py."""
    assert make_command_reference.TARGET.read_text() == make_command_reference.reference()


def test_the_api_reference_is_up_to_date():
    """Red? Run: python scripts/make_api_reference.py."""
    assert make_api_reference.TARGET.read_text() == make_api_reference.reference()
