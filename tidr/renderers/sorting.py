"""Sorts and prefix sums of device buffers; nothing here is on the tape."""

from tidr import runtime
from tidr.buffer import Buffer
from tidr.kernels import sort as kernels

CPU_DIGIT_BITS, GPU_DIGIT_BITS = 11, 4
GPU_CHUNK = 256  # entries that one GPU thread moves in order
SERIAL = 4096  # fewer entries are one chunk on a CPU


def capacity(size: int) -> int:
    """A little more, in steps of a quarter to an eighth of it, so that the buffers of a fit keep their size."""
    step = 1 << max(int(size) // 8, 1024).bit_length()
    return -(-max(int(size), 1) // step) * step


def sort_pairs(keys: Buffer, count: int, bits: int = 32, values: Buffer | None = None) -> tuple[Buffer, Buffer]:
    """Sorted keys and, in the same order, the values; equal keys keep their order.

    Args:
        keys: 32-bit words read as unsigned numbers, of which the lowest `bits` may differ. Not overwritten.
        count: how many there are; buffers may be longer.
        values: 32-bit words that travel with the keys; 0 .. count - 1 when None, which makes an argsort.
    """
    size, chunks = _chunks(count)
    block, length = runtime.chunk_block(), keys.ndarray.shape[0]
    widest = CPU_DIGIT_BITS if runtime.on_cpu() else GPU_DIGIT_BITS
    passes = max(-(-bits // widest), 1)
    width = -(-bits // passes)
    payload, first = values or keys, values is None
    for k in range(passes):
        shift = k * width
        digits = 1 << min(width, bits - shift)
        table = Buffer((chunks * digits + 1,), "int")
        run = (chunks, size, count, shift, digits, keys.ndarray)
        kernels.histogram(*run, table.ndarray, block)
        prefix_sum(table, chunks, digits)
        moved = Buffer((length,), "int"), Buffer((length,), "int")
        outputs = (moved[0].ndarray, moved[1].ndarray)
        kernels.scatter(*run, payload.ndarray, table.ndarray, *outputs, first, block)
        (keys, payload), first = moved, False
    return keys, payload


def prefix_sum(values: Buffer, rows: int, columns: int) -> None:
    """In place: sums of what comes before, column after column; the entry after rows * columns gets that of all."""
    size, chunks = _chunks(rows * columns)
    partial = Buffer((chunks,), "int")
    kernels.prefix_sum(chunks, size, rows, columns, values.ndarray, partial.ndarray, runtime.chunk_block())


def _chunks(count: int) -> tuple[int, int]:
    """Size and number of the runs of neighbours to share `count` entries out in."""
    if runtime.on_cpu():
        chunks = runtime.chunks() if count > SERIAL else 1
        return max(-(-count // chunks), 1), chunks
    return GPU_CHUNK, max(-(-count // GPU_CHUNK), 1)
