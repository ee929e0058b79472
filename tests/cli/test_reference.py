"""The command reference in the docs is what the commands say themselves."""

from scripts.make_command_reference import TARGET, reference


def test_the_reference_is_up_to_date():
    """Red? Run: python scripts/make_command_reference.py."""
    assert TARGET.read_text() == reference()
