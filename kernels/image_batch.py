"""Pictures of a set into a batch, on the device."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def copy_block(rows: ti.i32, channels: ti.i32, source: A2, source_start: ti.i32, target: A2, target_start: ti.i32):
    """target[target_start + row] = source[source_start + row]; both are [pixels of all pictures, channels]."""
    for row in range(rows):
        for channel in range(channels):
            target[target_start + row, channel] = source[source_start + row, channel]
