"""Gradient pictures: how every pixel changes with one number, as the treatment itself has it.

A backward pass gives the derivatives of one weighted sum of pixels, so dI/dp takes a pass for every pixel. They all go
back over one recorded render, and leave out blocks of pixels in which passes with random weights find nothing.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tidr.array import Array
from tidr.files.image import encode_png
from tidr.files.write import write_bytes
from tidr.fitting.tape import Passes
from tidr.parameter import Parameter
from tidr.renderers.renderer import render

from .runner import Problem, drawer

BLOCK = 8  # pixels a side of the largest block
BRIGHT = 99.0  # percentile of sizes that is drawn full
ENLARGED = 4  # pixels a side of a file's squares


def gradient_image(draw: Callable[[], Array], parameter: Parameter, entry: int) -> np.ndarray:
    """[H, W]: derivatives of the pixels' means over channels by an entry of a parameter, of the one picture drawn.

    A treatment whose gradient depends on the sign of what it is asked for ("nmr") shows the mean of both.
    """
    passes = Passes(lambda: [draw()], {parameter.label: parameter})
    shape = passes.outputs[0].shape  # [(1,) H, W, C]
    found, rng = np.zeros(shape[-3:-1]), np.random.default_rng(0)
    ones, pick = np.ones(found.shape), rng.uniform(0.5, 1.5, found.shape) * rng.choice([-1, 1], found.shape)

    def slopes(weights: np.ndarray, row: int, column: int) -> np.ndarray:
        seed, block, each = np.zeros(shape), np.s_[row : row + size, column : column + size], []
        for sign in signs:
            seed[(..., *block, slice(None))] = sign * weights[block][..., None] / shape[-1]
            passes.back([seed])
            each.append(sign * float(parameter.grad_numpy().flat[entry]))
        return np.array(each)

    blocks, size, signs = [*np.ndindex(*found.shape)], BLOCK, (1.0, -1.0)
    blocks = [at for at in blocks if at[0] % size == at[1] % size == 0]
    while size > 1:
        each = np.array([slopes(pick, *at) for at in blocks]).reshape(len(blocks), len(signs))
        if size == BLOCK and np.abs(each @ (1, -1)).max() <= 1e-3 * np.abs(each).max():
            signs = (1.0,)
        size //= 2
        felt = [at for at, one in zip(blocks, each, strict=True) if one.any()]
        blocks = [(r + down, c + right) for r, c in felt for down, right in size * np.array([*np.ndindex(2, 2)])]
        blocks = [at for at in blocks if at[0] < found.shape[0] and at[1] < found.shape[1]]
    for at in blocks:
        found[at] = slopes(ones, *at).mean()
    return found


def coloured(values: np.ndarray, limit: float) -> np.ndarray:
    """[H, W, 3]: red where values are positive, blue where negative, both full at `limit`, and white at 0."""
    part = np.clip(values / (limit or 1.0), -1, 1)
    return 1 - np.stack([np.maximum(-part, 0), np.abs(part), np.maximum(part, 0)], -1)


def write_gradient_picture(problem: Problem, treatment: str, folder: Path) -> str:
    """Write dI/dp at the start of a problem, by the number that it names, and return the file's name, with its scale.

    Raises:
        FileError: the folder is missing or read-only, or the disk is full.
    """
    assert problem.shown is not None
    path, entry = problem.shown
    task = problem.build()
    renderer, channel = drawer(problem, task, treatment), next(iter(task.targets))
    held = task.scene.parameters()[path]
    values = gradient_image(lambda: render(task.scene, task.cameras[:1], renderer).channel(channel), held, entry)
    sizes = np.abs(values[values != 0])
    limit = float(np.percentile(sizes, BRIGHT)) if sizes.size else 0.0
    name = f"{problem.name}_{treatment}_{path}.{entry}_within_{limit:.3g}.png"
    squares = coloured(values, limit).repeat(ENLARGED, 0).repeat(ENLARGED, 1)
    write_bytes(folder / name, encode_png(squares, srgb=False))
    return name
