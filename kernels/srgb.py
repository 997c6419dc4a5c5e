"""The sRGB transfer curve (IEC 61966-2-1), on the device; values below 0 and above 1 run on along it."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)
KNEE = 0.04045  # below, the curve is straight


@ti.kernel
def decode(rows: ti.i32, channels: ti.i32, encoded: A2, linear: A2):
    """linear [rows, channels] of encoded ones."""
    for row in range(rows):
        for channel in range(channels):
            value = encoded[row, channel]
            if value <= KNEE:
                linear[row, channel] = value / 12.92
            else:
                linear[row, channel] = ((value + 0.055) / 1.055) ** 2.4


@ti.kernel
def decode_adjoint(rows: ti.i32, channels: ti.i32, encoded: A2, grad_linear: A2, grad_encoded: A2):
    """Adds to grad_encoded."""
    for row in range(rows):
        for channel in range(channels):
            value, slope = encoded[row, channel], 1.0 / 12.92
            if value > KNEE:
                slope = 2.4 / 1.055 * ((value + 0.055) / 1.055) ** 1.4
            grad_encoded[row, channel] = grad_encoded[row, channel] + slope * grad_linear[row, channel]
