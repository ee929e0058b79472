"""How many images of each class, against published numbers and a slow search."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from labelkit.errors import DatasetError
from labelkit.subsets import images_per_class

CIFAR10_LT = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_the_long_tail_of_cifar10_has_its_published_numbers():
    """CIFAR-10-LT with the imbalance 100, as papers since Cao et al. 2019 list it."""
    counts = dict.fromkeys("abcdefghij", 5000)
    found = images_per_class(counts, 5000, imbalance=100)
    assert sorted(found.values(), reverse=True) == CIFAR10_LT


def test_classes_with_more_images_are_the_head():
    counts = {"few": 4, "many": 400, "some": 90}
    assert images_per_class(counts, imbalance=100) == {"few": 4, "many": 400, "some": 40}


def test_an_imbalance_of_one_is_balanced_and_none_changes_nothing():
    counts = {"few": 4, "many": 400, "some": 90}
    assert images_per_class(counts, imbalance=1) == dict.fromkeys(counts, 4)
    assert images_per_class(counts) == counts


def test_equal_classes_are_ordered_by_the_seed():
    counts = dict.fromkeys("abcdefgh", 100)
    orders = {tuple(images_per_class(counts, 100, 10, seed=seed).items()) for seed in range(5)}
    assert len(orders) == 5


def slow_number(head: int, imbalance: float, place: int, classes: int) -> int:
    """By repeated division: the share of each place is the one before times one factor."""
    factor = imbalance ** (1 / max(classes - 1, 1))
    share = float(head)
    for _ in range(place):
        share /= factor
    return max(1, int(share + 1e-6))


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.sampled_from([1.5, 2.0, 10.0, 100.0]),
)
def test_without_a_number_the_tail_is_as_large_as_can_be(counts: list[int], imbalance: float):
    ordered = sorted(counts, reverse=True)

    def possible(head: int) -> bool:
        numbers = [slow_number(head, imbalance, at, len(counts)) for at in range(len(counts))]
        return all(n <= count for n, count in zip(numbers, ordered, strict=True))

    best = max(head for head in range(1, ordered[0] + 1) if possible(head))
    names = {f"c{at}": count for at, count in enumerate(counts)}
    found = images_per_class(names, None, imbalance)
    assert max(found.values()) == best
    assert all(found[name] <= names[name] for name in names)
    with pytest.raises(DatasetError, match=f"at most {best} per class"):
        images_per_class(names, best + 1, imbalance)


def test_balanced_numbers():
    counts = {"a": 7, "b": 5}
    assert images_per_class(counts, "smallest") == {"a": 5, "b": 5}
    assert images_per_class(counts, 3) == {"a": 3, "b": 3}
    assert images_per_class(counts) == counts
    with pytest.raises(DatasetError, match="at most 5 per class are possible"):
        images_per_class(counts, 6)
