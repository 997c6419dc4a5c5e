"""The sRGB transfer curve (IEC 61966-2-1), numpy."""

import numpy as np


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Linear values of sRGB-encoded ones in [0, 1], entry by entry; the type of a float array is kept."""
    encoded = np.asarray(encoded)
    high = ((np.maximum(encoded, 0) + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, encoded / 12.92, high)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB-encoded values of linear ones, entry by entry; no clipping, negative values run on straight."""
    linear = np.asarray(linear)
    high = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, high)
