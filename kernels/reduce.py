"""Sums over many rows in a fixed order: each chunk adds its own rows, then one thread adds the chunks."""

from typing import NamedTuple

CPU_CHUNKS = 64
GPU_CHUNKS = 4096


class Split(NamedTuple):
    """`chunks` chunks of at most `size` rows: chunk p holds rows p * across + k * along, k = 0 .. size - 1.

    A chunk is a run of rows on a CPU; on a GPU neighbouring threads take neighbouring rows. The count depends on the
    backend only, so a sum has the same bits for any number of threads.
    """

    chunks: int
    size: int
    across: int
    along: int


def split(rows: int, on_cpu: bool, groups: int = 1) -> Split:
    """How to share out `rows` rows for a sum; `groups` such sums are made at once."""
    chunks = max(1, min(rows, (CPU_CHUNKS if on_cpu else GPU_CHUNKS) // groups))
    size = -(-rows // chunks)
    return Split(chunks, size, size, 1) if on_cpu else Split(chunks, size, 1, chunks)


def each(rows: int, on_cpu: bool) -> Split:
    """How to share out `rows` rows that are independent: runs on a CPU, one row a thread on a GPU."""
    return split(rows, True) if on_cpu else Split(max(rows, 1), 1, 1, max(rows, 1))
