"""Changes of a label-map file's bytes."""

from __future__ import annotations


def range_of(content, rng):
    length = min(int(2 ** rng.uniform(0, 11)), len(content) // 3)
    start = int(rng.integers(len(content) - length))
    return start, start + length


def flip_bits(content, rng):
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)


def flip_one_bit(content, rng):
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)


def truncate(content, rng):
    del content[rng.integers(len(content)) :]


def zero_a_range(content, rng):
    start, stop = range_of(content, rng)
    content[start:stop] = bytes(stop - start)


def overwrite_a_range(content, rng):
    start, stop = range_of(content, rng)
    content[start:stop] = rng.bytes(stop - start)


def fill_a_range_with_ones(content, rng):
    start, stop = range_of(content, rng)
    content[start:stop] = b"\xff" * (stop - start)


def copy_a_range_over_another(content, rng):
    start, stop = range_of(content, rng)
    target = int(rng.integers(len(content) - (stop - start)))
    content[target : target + stop - start] = content[start:stop]


def cut_a_range_out(content, rng):
    start, stop = range_of(content, rng)
    del content[start:stop]


def insert_bytes(content, rng):
    start, stop = range_of(content, rng)
    content[start:start] = rng.bytes(stop - start)


def append_bytes(content, rng):
    content += rng.bytes(1 + rng.integers(5000))


BYTES = (
    flip_bits,
    flip_one_bit,
    truncate,
    zero_a_range,
    overwrite_a_range,
    fill_a_range_with_ones,
    copy_a_range_over_another,
    cut_a_range_out,
    insert_bytes,
    append_bytes,
)
