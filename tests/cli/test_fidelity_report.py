"""The page of ``labelkit fidelity`` explains what it shows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from labelkit.cli.fidelity_report import write_report
from labelkit.relabel import Configuration, Fidelity, default_configurations


def page(path) -> ET.Element:
    floor = Configuration("the mirrored crop", (224,))
    results = [Fidelity(floor, 0.04, 0.01, 0.9, 0.51, 0.52, 0.0, 0.0, (0.03, 0.05))]
    for place, configuration in enumerate(default_configurations((224, 320))):
        size = 1000.0 + 10 * place if configuration.settings else 0.0
        results.append(Fidelity(configuration, 0.5 + place, 0.01, 0.8, 0.5, 0.52, size, 1.2))
    write_report(path, results, "a<b>-teacher")
    text = path.read_text().removeprefix("<!DOCTYPE html>")
    return ET.fromstring(text)  # noqa: S314 -- our own output


def cells(table: ET.Element) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def test_the_page_explains_how_every_kind_of_map_is_made(tmp_path):
    kinds, figures = map(cells, page(tmp_path / "f.html").iter("table"))
    made = dict(kinds[1:])
    assert set(made) == {row[0] for row in figures[1:]}
    assert made["12 classes, background 192"] == "--topk 12 --background 192"
    assert made["default"] == "no options: these are the defaults"
    assert made["default, not calibrated"] == "--no-calibration"
    assert made["as published"] == "--selection cell --grid 15 --background 0 --no-calibration"
    assert made["all logits"].startswith("no file")
    assert made["the mirrored crop"].startswith("no map")
    assert 'TargetOptions(method="probability")' in made["default, probabilities"]


def test_every_column_is_explained_and_numbers_are_right_aligned(tmp_path):
    root = page(tmp_path / "f.html")
    words = " ".join(" ".join(part.itertext()) for part in root.iter("p")).lower()
    figures = list(root.iter("table"))[1]
    head = list(figures.iter("th"))
    for column in [cell.text for cell in head][2:]:
        assert column.lower() in words, column
    # Configurations without a file have no bytes and no cost.
    right = [cell.text for cell in head if cell.get("class") == "number"]
    assert right == ["pixels", "KL", "±", "agreement", "top", "bytes", "cost"]
    assert "a mean probability of 0.52" in words


def test_no_two_kinds_look_alike_and_the_legend_stays_above_the_plot(tmp_path):
    svg = next(each for each in page(tmp_path / "f.html").iter() if each.tag.endswith("svg"))
    marks = [each for each in svg if each.tag in {"circle", "rect"}]
    looks: dict[tuple[str, str | None], set[str]] = {}
    for mark in marks:
        kind = re.split(r", [\d +]+ pixels", mark[0].text)[0]
        looks.setdefault((mark.tag, mark.get("fill")), set()).add(kind)
    assert len(looks) == 8
    assert all(len(kinds) == 1 for kinds in looks.values())
    top = min(float(line.get("y1")) for line in svg if line.tag == "line")
    legend = [float(each.get("y")) for each in svg if each.tag == "text"]
    assert sum(y < top - 10 for y in legend) == len(looks) + 1  # and the axis label
    # Letters 14 units high, as on a small screen, are about 7 wide.
    names = [each for each in svg if each.tag == "text" and not each.get("text-anchor")]
    assert all(float(each.get("x")) + 7 * len(each.text) < 560 for each in names)
