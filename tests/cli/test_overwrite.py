"""``--overwrite`` replaces results, never what the command reads."""

from __future__ import annotations

from PIL import Image

from tests.command import labelkit
from tests.data.support import write_maps


def refuse(path, *arguments):
    before = path.read_bytes()
    run = labelkit(*arguments, "-o", path, "--overwrite")
    assert run.code == 2, run.text
    assert "choose another name" in run.text
    assert path.read_bytes() == before
    return run.text


def test_an_input_is_not_replaced(tmp_path):
    classes, taxonomy = tmp_path / "c.txt", tmp_path / "t.json"
    classes.write_text("cat\ndog\ncar\n")
    taxonomy.write_text('{"animal": ["cat", "dog"], "thing": ["car"]}')
    said = refuse(taxonomy, "build-tree", classes, "--taxonomy", taxonomy)
    assert "t.json is an input of this command" in said
    names = tmp_path / "n.tsv"
    names.write_text("cat\ndog\n")
    refuse(names, "match-names", names)
    link = tmp_path / "link.tsv"
    link.symlink_to("n.tsv")
    refuse(link, "match-names", names)


def test_maps_under_another_suffix_are_not_replaced_by_their_page(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 32)).save(photos / "a.png")
    write_maps(tmp_path / "m.h5", ["a.png"])
    maps = (tmp_path / "m.h5").rename(tmp_path / "m.html")
    said = refuse(maps, "inspect", maps, "--images", photos)
    assert "m.html is an input of this command" in said


def test_a_photo_is_not_replaced_by_its_picture(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 32)).save(photos / "a.png")
    write_maps(tmp_path / "m.h5", ["a.png"])
    said = refuse(
        photos / "a.png", "inspect", tmp_path / "m.h5", "--images", photos, "--key", "a.png"
    )
    assert "a.png is one of the images in" in said
