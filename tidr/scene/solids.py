"""The one solid that a noisy density stands for: its hollows filled, what floats beside it taken away."""

from __future__ import annotations

import numpy as np


def largest_solid(inside: np.ndarray) -> np.ndarray:
    """The largest connected part (by faces) of cells [D, H, W], together with every hollow that it closes in.

    What pictures cannot show, the inside of a thing, is whatever the fit left there; from outside it makes no
    difference. All False where nothing is inside.
    """
    padded = np.pad(inside, 1)
    rest, best = padded.copy(), np.zeros_like(padded)
    while rest.any() and rest.sum() > best.sum():
        part = _connected(rest, int(np.argmax(rest)))
        rest &= ~part
        if part.sum() > best.sum():
            best = part
    return ~_connected(~best, 0)[1:-1, 1:-1, 1:-1]


def _connected(cells: np.ndarray, first: int) -> np.ndarray:
    """The cells that a walk over faces reaches from flat index `first`.

    The outermost layer is all in or all out, so it does no harm that a step from a line's end leads to the next line.
    """
    flat, strides = cells.reshape(-1), (1, cells.shape[2], cells.shape[1] * cells.shape[2])
    reached = np.zeros(flat.size, bool)
    reached[first] = True
    front = np.array([first])
    while front.size:
        around = np.concatenate([front + step for stride in strides for step in (stride, -stride)])
        around = around[(around >= 0) & (around < flat.size)]
        front = np.unique(around[flat[around] & ~reached[around]])
        reached[front] = True
    return reached.reshape(cells.shape)
