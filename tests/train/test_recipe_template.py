"""``labelkit train --init``: a commented recipe that says all there is to say."""

from __future__ import annotations

import re

import pytest

from labelkit.train import label_kinds, read_recipe, recipe_template
from tests.command import labelkit


@pytest.mark.parametrize("kind", label_kinds())
def test_a_template_is_a_recipe_and_its_comments_are_the_defaults(kind, tmp_path):
    text = recipe_template(kind)
    (tmp_path / "recipe.toml").write_text(text)
    as_printed = read_recipe(tmp_path / "recipe.toml")
    assert as_printed.labels.__struct_config__.tag == kind
    defaults = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    defaults = re.sub(r"^.*# off by default\n", "", defaults, flags=re.MULTILINE)
    assert len(defaults.splitlines()) < len(text.splitlines())
    (tmp_path / "recipe.toml").write_text(defaults)
    assert read_recipe(tmp_path / "recipe.toml") == as_printed


@pytest.mark.parametrize("kind", label_kinds())
def test_every_field_is_there_once_below_a_comment(kind, tmp_path):
    text = recipe_template(kind)
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml")
    tables = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    assert tables[1::2] == list(recipe.__struct_fields__)
    for name, body in zip(tables[1::2], tables[2::2], strict=True):
        lines = body.splitlines()
        found = [at for at, line in enumerate(lines) if re.match(r"(# )?\w+ = ", line)]
        fields = [re.match(r"(?:# )?(\w+)", lines[at])[1] for at in found]
        assert [each for each in fields if each != "kind"] == list(
            getattr(recipe, name).__struct_fields__
        )
        described = [
            lines[at - 1] for at, field in zip(found, fields, strict=True) if field != "kind"
        ]
        assert all(re.match(r"# .*\w", line) and " = " not in line for line in described)
    assert max(map(len, text.splitlines())) <= 110


def test_the_command_prints_it():
    printed = labelkit("train", "--init", "hard")
    assert printed.code == 0
    assert printed.out == recipe_template("hard")
    wrong = labelkit("train", "--init", "soft")
    assert wrong.code == 2
    assert "no labels of kind 'soft', only hard, " in wrong.text
    assert "labelkit train --init hard" in labelkit("train").text
