"""Merging averages calibrations by the rows of their files, in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, merge
from tests.label_maps.support.small_files import calibration_of, make

KEYS = [f"{n:02d}.jpg" for n in range(12)]
CALIBRATIONS = [
    calibration_of(images=64, crops=4, seed=3, divergence=(0.6, 0.4)),
    calibration_of(
        scale=(-0.2, 0.0), compression=0.5, images=10, crops=8, seed=1, divergence=(0.3, 0.1)
    ),
    calibration_of(scale=(0.1, 0.123), compression=1.0, images=7, crops=4, divergence=(0.1, 0.1)),
]
SIZES = (6, 4, 2)


@pytest.fixture
def parts(tmp_path):
    starts = (0, 6, 10)
    return [
        make(tmp_path / f"{n}.h5", KEYS[start : start + size], calibration=calibration)
        for n, (start, size, calibration) in enumerate(
            zip(starts, SIZES, CALIBRATIONS, strict=True)
        )
    ]


def test_the_mean_counts_each_file_by_its_rows(parts, tmp_path):
    merged = merge(parts, tmp_path / "m.h5").calibration
    assert merged is not None
    assert merged.scale == (
        round((6 * 0.4 - 4 * 0.2 + 2 * 0.1) / 12, 3),
        round((6 * 0.3 + 2 * 0.123) / 12, 3),
    )
    assert merged.compression == round((6 * 0.8 + 4 * 0.5 + 2) / 12, 3)
    assert merged.mixing == ((0.0, 0.0),)
    assert (merged.images, merged.crops, merged.seed) == (81, 8, 0)
    assert merged.divergence == (round(5 / 12, 3), round((6 * 0.4 + 6 * 0.1) / 12, 3))
    merged.check(1, 20)


def test_the_order_of_the_files_changes_no_byte(parts, tmp_path):
    results = {
        merge(order, tmp_path / f"m{n}.h5").path.read_bytes()
        for n, order in enumerate(permutations(parts))
    }
    assert len(results) == 1


def test_zero_is_zero_whatever_its_sign(tmp_path):
    """The two spellings are equal, so the order would show."""
    parts = [
        make(tmp_path / f"{n}.h5", [f"{n}"], calibration=calibration_of(scale=(0.4, zero)))
        for n, zero in enumerate((0.0, -0.0))
    ]
    one, other = (
        merge(order, tmp_path / f"m{len(order)}{order[0].path.name}")
        for order in (parts, parts[::-1])
    )
    assert one.path.read_bytes() == other.path.read_bytes()


def test_equal_calibrations_stay_as_they_are(tmp_path):
    """With digits that an average would round."""
    calibration = calibration_of(scale=(0.123456, 0.3), images=5)
    parts = [make(tmp_path / f"{n}.h5", [f"{n}"], calibration=calibration) for n in range(3)]
    merged = merge(parts, tmp_path / "m.h5")
    assert merged.calibration == calibration
    assert merge([merged, parts[0]], tmp_path / "again.h5").calibration == calibration


def test_a_merge_of_merges_is_that_of_all_files_up_to_rounding(parts, tmp_path):
    once = merge(parts, tmp_path / "once.h5").calibration
    first = merge(parts[:2], tmp_path / "first.h5")
    twice = merge([parts[2], first], tmp_path / "twice.h5").calibration
    assert once is not None
    assert twice is not None
    assert twice.numbers == pytest.approx(once.numbers, abs=2e-3)
    assert (twice.images, twice.crops, twice.seed) == (once.images, once.crops, once.seed)
    assert twice.divergence == pytest.approx(once.divergence, abs=2e-3)


def test_a_file_without_calibration_is_refused_with_what_to_do_next(parts, tmp_path):
    plain = make(tmp_path / "plain.h5", ["z.jpg"])
    for order in ([parts[0], plain], [plain, parts[0]]):
        with pytest.raises(LabelMapError) as caught:
            merge(order, tmp_path / "m.h5")
        assert f"{parts[0].path} is calibrated and {plain.path} is not" in str(caught.value)
        assert f"--reuse {plain.path}" in str(caught.value)
    assert not (tmp_path / "m.h5").exists()


def test_a_file_without_rows_does_not_matter(parts, tmp_path):
    empty = make(tmp_path / "empty.h5", [])
    calibrated = make(tmp_path / "calibrated.h5", [], calibration=CALIBRATIONS[1])
    merged = merge([empty, parts[0], calibrated], tmp_path / "m.h5")
    assert merged.calibration == CALIBRATIONS[0]


def test_rows_are_copied_and_the_digest_differs_from_that_of_uncalibrated_files(parts, tmp_path):
    merged = merge(parts, tmp_path / "m.h5")
    plain = make(tmp_path / "plain.h5", KEYS)
    assert merged.header.content == plain.header.content
    assert merged.digest != plain.digest
    other = make(tmp_path / "other.h5", KEYS, calibration=CALIBRATIONS[0])
    assert len({merged.digest, plain.digest, other.digest}) == 3
    facts = calibration_of(images=1, seed=8, divergence=(3.0, 1.0))
    assert make(tmp_path / "facts.h5", KEYS, calibration=facts).digest == other.digest


def test_an_impossible_calibration_is_refused_before_the_shards_are_removed(tmp_path):
    path = tmp_path / "maps.h5"
    for wrong in (calibration_of(scale=(99.0, 0.0)), calibration_of(maps=2)):
        with pytest.raises(ValueError, match="the calibration"):
            make(path, KEYS, calibration=wrong)
    assert make(path, KEYS, calibration=CALIBRATIONS[0]).calibration == CALIBRATIONS[0]
    assert LabelMapFile.open(path)[KEYS[0]].calibration == CALIBRATIONS[0]
