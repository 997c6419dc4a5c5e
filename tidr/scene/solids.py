"""The one solid that a noisy density stands for: its hollows filled, what floats beside it taken away."""

import numpy as np


def largest_solid(inside: np.ndarray, gap: int = 2) -> np.ndarray:
    """The largest connected part (by faces) of cells [D, H, W], together with every hollow that it closes in.

    What pictures cannot show, the inside of a thing, is whatever the fit left there; from outside it makes no
    difference. Holes in its shell that are up to 2 * `gap` cells wide are closed first. All False where nothing is
    inside.
    """
    part = _largest(inside)
    closed = np.pad(part, gap + 1)
    for _ in range(gap):
        closed = _grown(closed)
    closed = ~_connected(~closed, 0)
    for _ in range(gap):
        closed = ~_grown(~closed)
    inner = slice(gap + 1, -gap - 1)
    return part | closed[inner, inner, inner]


def _grown(cells: np.ndarray) -> np.ndarray:
    """Cells and their neighbours over faces."""
    grown = cells.copy()
    for axis in range(3):
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        grown[tuple(ahead)] |= cells[tuple(behind)]
        grown[tuple(behind)] |= cells[tuple(ahead)]
    return grown


def _largest(inside: np.ndarray) -> np.ndarray:
    """The largest part of cells that hang together."""
    padded = np.pad(inside, 1)
    rest, best = padded.copy(), np.zeros_like(padded)
    while rest.any() and rest.sum() > best.sum():
        part = _connected(rest, int(np.argmax(rest)))
        rest &= ~part
        if part.sum() > best.sum():
            best = part
    return best[1:-1, 1:-1, 1:-1]


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
