"""Spectra as linear RGB, as Mitsuba's RGB modes take them: what reflects is seen under daylight, lights as they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .guard import LARGEST_COORDINATE, Limits, at, read_text

FIRST, LAST = 360, 830  # nm, what eyes see
MOST = 10_000  # values of a spectrum
TO_RGB = np.array([[3.240479, -1.53715, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]])
DAYLIGHT = (  # relative power of D65 every 10 nm from 380 on
    49.98, 54.65, 82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35, 107.80, 104.79,
    107.69, 104.41, 104.05, 100.00, 96.33, 95.79, 88.69, 90.01, 89.60, 87.70, 83.29, 83.70, 80.03, 80.21, 82.28, 78.28,
    69.72, 71.61, 74.35, 61.60, 69.89, 75.09, 63.59, 46.42, 66.81, 63.38,
)  # fmt: skip
# The observer of CIE 1931 as sums of lobes (height, centre, width below, width above), to about 1 %: Wyman, Sloan and
# Shirley 2013, "Simple Analytic Approximations to the CIE XYZ Color Matching Functions".
LOBES = (
    ((1.056, 599.8, 37.9, 31.0), (0.362, 442.0, 16.0, 26.7), (-0.065, 501.1, 20.4, 26.2)),
    ((0.821, 568.8, 46.9, 40.5), (0.286, 530.9, 16.3, 31.1)),
    ((1.217, 437.0, 11.8, 36.0), (0.681, 459.0, 26.0, 13.8)),
)


def spectrum_rgb(pairs: Sequence[Sequence[float]], light: bool) -> np.ndarray:
    """[3], not negative, of (wavelength in nm, value) pairs, linear in between and 0 outside of them."""
    table = np.array(sorted(map(tuple, pairs)), np.float64)
    waves = np.arange(FIRST, LAST + 1.0)
    values = np.interp(waves, table[:, 0], table[:, 1], left=0, right=0)
    seen = np.stack([sum(_lobe(waves, *lobe) for lobe in lobes) for lobes in LOBES])
    if not light:
        values = values * np.interp(waves, 380 + 10.0 * np.arange(len(DAYLIGHT)), DAYLIGHT)
        white = TO_RGB @ (seen @ np.interp(waves, 380 + 10.0 * np.arange(len(DAYLIGHT)), DAYLIGHT))
        return np.maximum(TO_RGB @ (seen @ values) / white, 0)
    return np.maximum(TO_RGB @ (seen @ values) / seen[1].sum(), 0)


def _lobe(waves: np.ndarray, height: float, centre: float, below: float, above: float) -> np.ndarray:
    width = np.where(waves < centre, below, above)
    return height * np.exp(-0.5 * ((waves - centre) / width) ** 2)


def read_spectrum(path: Path, limits: Limits) -> list[list[float]]:
    """The pairs of an .spd: a wavelength and a value on each line, behind # remarks.

    Raises:
        FileError: names the line.
    """
    pairs = []
    for number, line in enumerate(read_text(path, limits).split("\n"), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            pair = [float(word) for word in words]
        except ValueError:
            pair = []
        if len(pair) != 2 or not all(abs(part) <= LARGEST_COORDINATE for part in pair) or len(pairs) >= MOST:
            raise FileError(at(path, number), f"is {line!r:.60}, expected a wavelength and a value")
        pairs.append(pair)
    if not pairs:
        raise FileError(path, "holds no value", "write a wavelength in nm and a value on each line")
    return pairs
