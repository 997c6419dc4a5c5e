"""Brute force in numpy for what tidr.ops makes, and losses over several of its arrays."""

import numpy as np

from tidr.array import Array
from tidr.fitting.tape import Loss, Operation, run

FACES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 4, 8], [1, 5, 6], [2, 3, 7], [9, 10, 11], [10, 9, 6]])


def mixed(*arrays: Array, channels: int | None = None) -> Loss:
    """The sum of all entries, of the first array's first `channels`, each times a fixed random weight."""
    rng, out = np.random.default_rng(5), Array(())
    weights = [rng.normal(size=array.shape) for array in arrays]
    if channels is not None:
        weights[0][..., channels:] = 0.0

    def forward() -> None:
        out.set(sum((w * array.numpy()).sum() for w, array in zip(weights, arrays, strict=True)))

    def backward() -> None:
        for w, array in zip(weights, arrays, strict=True):
            array.set_grad(array.grad_numpy() + w * float(out.grad_numpy()))

    run(Operation(forward, backward, arrays, [out], "mixed"))
    return Loss(out, "mixed")


def agree(made: list[np.ndarray], exact: list[np.ndarray]) -> None:
    """Assert that arrays made in 32 bits are those in 64 bits, within 2 % of the largest entry."""
    for one, other in zip(made, exact, strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=2e-2, atol=2e-2 * np.abs(other).max())


def clip_space(seed: int, count: int = 12, beyond: float = 0.4) -> np.ndarray:
    """[count, 4] clip-space positions of random points before and behind the eye; near plane 0.3, far plane 4."""
    rng, near, far = np.random.default_rng(seed), 0.3, 4.0
    eye = rng.uniform([-1.5, -1.2, -3.5], [1.5, 1.2, beyond], (count, 3))
    depth = -(far + near) / (far - near) * eye[:, 2] - 2 * far * near / (far - near)
    return np.stack([1.1 * eye[:, 0], 1.4 * eye[:, 1], depth, -eye[:, 2]], axis=1)


def weights_at(corners: np.ndarray, x: float, y: float) -> np.ndarray:
    """[3] weights of the corners [3, 4] where the ray through NDC (x, y) meets their plane."""
    system = np.stack([corners[:, 0] - x * corners[:, 3], corners[:, 1] - y * corners[:, 3], np.ones(3)])
    return np.linalg.solve(system, [0, 0, 1])


def layers_at(positions: np.ndarray, faces: np.ndarray, x: float, y: float) -> list[tuple[float, int, np.ndarray]]:
    """(z/w, triangle, weights) of all triangles at NDC (x, y), nearest first."""
    found = []
    for index, face in enumerate(faces):
        weights = weights_at(positions[face], x, y)
        z, w = weights @ positions[face][:, 2:]
        if (weights >= 0).all() and w > 0 and -w <= z <= w:
            found.append((z / w, index, weights))
    return sorted(found, key=lambda one: one[:2])


def ndc(row: float, column: float, height: int, width: int) -> tuple[float, float]:
    return (column + 0.5) / width * 2 - 1, 1 - (row + 0.5) / height * 2


def rasterized(positions, faces, height: int, width: int, layer: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """rast and slopes [H, W, 4] of one image, the slopes by differences."""
    rast, slopes, h = np.zeros((height, width, 4)), np.zeros((height, width, 4)), 1e-4
    for row in range(height):
        for column in range(width):
            found = layers_at(positions, faces, *ndc(row, column, height, width))
            if len(found) > layer:
                depth, index, weights = found[layer]
                rast[row, column] = *weights[:2], depth, index + 1
                for k, (dy, dx) in enumerate([(0, h), (h, 0)]):
                    ends = [ndc(row + s * dy, column + s * dx, height, width) for s in (1, -1)]
                    one, other = (weights_at(positions[faces[index]], *end)[:2] for end in ends)
                    slopes[row, column, k::2] = (one - other) / (2 * h)
    return rast, slopes


AXES = ((0, -1, -1), (0, 1, -1), (1, 1, 1), (1, 1, -1), (2, 1, -1), (2, -1, -1))  # axis, signs of s and t on each face
ACROSS = {0: (2, 1), 1: (0, 2), 2: (0, 1)}


def direction(face: int, s: float, t: float) -> np.ndarray:
    """OpenGL's table: the direction through (s, t) in [-1, 1], t down, of a cube's face."""
    axis, sign_s, sign_t = AXES[face]
    out = np.zeros(3)
    out[axis] = 1 - 2 * (face % 2)
    out[ACROSS[axis][0]], out[ACROSS[axis][1]] = sign_s * s, sign_t * t
    return out


def cube_look_up(texels: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Bilinear look-up in faces [6, S, S, C]; texels beyond an edge are those whose direction is closest."""
    size = texels.shape[1]
    centers = (np.arange(size) + 0.5) / size * 2 - 1
    table = np.array([[[direction(f, s, t) for s in centers] for t in centers] for f in range(6)])
    units = table / np.linalg.norm(table, axis=-1, keepdims=True)
    axis = int(np.abs(d).argmax())
    face = 2 * axis + int(d[axis] < 0)
    _, sign_s, sign_t = AXES[face]
    s, t = (sign * d[k] / abs(d[axis]) for sign, k in zip((sign_s, sign_t), ACROSS[axis], strict=True))
    x, y = ((one + 1) / 2 * size - 0.5 for one in (s, t))
    left, top = int(np.floor(x)), int(np.floor(y))
    values: list[np.ndarray | None] = []
    for j, i in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= i < size and 0 <= j < size:
            values.append(texels[face, j, i])
        elif not (0 <= i < size) and not (0 <= j < size):
            values.append(None)
        else:
            alike = units @ direction(face, (i + 0.5) / size * 2 - 1, (j + 0.5) / size * 2 - 1)
            alike[face] = -1
            values.append(texels[np.unravel_index(alike.argmax(), alike.shape)])
    mean = np.mean([value for value in values if value is not None], axis=0)
    weights = [(1 - a) * (1 - b) for b in (y - top, 1 - y + top) for a in (x - left, 1 - x + left)]
    return np.einsum("k,kc->c", weights, [mean if value is None else value for value in values])
