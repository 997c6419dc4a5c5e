"""Tools of the model generator: octahedral grids, distance fields, surface flow, OBJ text, binary glTF.

Everything is built from + - * / and square roots in float64, without trigonometry, random numbers or matrix
libraries, so that the generator writes the same bytes on every machine.
"""

import json
import struct
from pathlib import Path

import numpy as np


class OctahedralGrid:
    """A sphere cut open into a square: the lattice (2n+1) x (2n+1) with its border glued to itself.

    The upper half of an octahedron is the diamond |a| + |b| <= n, the lower half is folded out into the corners, so
    that the square is one chart, filled completely, and the seam runs up four meridians from the lower pole.
    The border points (n, b) and (n, -b) are the same vertex; so are (a, n) and (-a, n), and the four corners.

    Attributes (V = 4n^2 + 2, F = 8n^2, T = (2n+1)^2 lattice points, point (a, b) in row (b + n)(2n + 1) + a + n):
        vertex_of: int [T], the welded vertex of each lattice point.
        directions: [V, 3], unit vectors, Y up; the lattice's a axis is +X, its b axis is -Z.
        corners: int [F, 3], lattice points of each triangle (= texture coordinate indices).
        faces: int [F, 3], vertices of each triangle, counter-clockwise seen from outside.
    """

    def __init__(self, n: int):
        self.n, self.side = n, 2 * n + 1
        b, a = (lattice.ravel() for lattice in np.mgrid[-n : n + 1, -n : n + 1])
        b_welded = np.where(np.abs(a) == n, np.abs(b), b)
        a_welded = np.where(np.abs(b_welded) == n, np.abs(a), a)
        self.representatives, self.vertex_of = np.unique(self._row(a_welded, b_welded), return_inverse=True)

        height = n - np.abs(a) - np.abs(b)
        fold_a, fold_b = np.where(a < 0, -1, 1) * (n - np.abs(b)), np.where(b < 0, -1, 1) * (n - np.abs(a))
        lower = height < 0
        octahedron = np.stack([np.where(lower, fold_a, a), height, -np.where(lower, fold_b, b)], 1).astype(float)
        octahedron = octahedron[self.representatives]
        self.directions = octahedron / length(octahedron)[:, None]
        self.corners = self._triangles()
        self.faces = self.vertex_of[self.corners]

    def _row(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (b + self.n) * self.side + a + self.n

    def _triangles(self) -> np.ndarray:
        """Split each lattice cell along the lines |a| + |b| = constant; int [F, 3]."""
        n = self.n
        b, a = (cell.ravel() for cell in np.mgrid[-n:n, -n:n])
        p00, p10, p01, p11 = self._row(a, b), self._row(a + 1, b), self._row(a, b + 1), self._row(a + 1, b + 1)
        falling = ((a >= 0) == (b >= 0))[:, None]
        first = np.where(falling, np.stack([p00, p10, p01], 1), np.stack([p00, p10, p11], 1))
        second = np.where(falling, np.stack([p10, p11, p01], 1), np.stack([p00, p11, p01], 1))
        return np.stack([first, second], 1).reshape(-1, 3)

    def texture_coordinates(self, margin: float) -> np.ndarray:
        """UV of every lattice point, [T, 2]: the square shrunk by `margin` (in units of UV) on each side."""
        steps = margin + np.arange(self.side) * ((1 - 2 * margin) / (2 * self.n))
        u, v = np.meshgrid(steps, steps)
        return np.stack([u.ravel(), v.ravel()], 1)

    def refine(self, points: np.ndarray) -> tuple["OctahedralGrid", np.ndarray]:
        """Split each triangle into four: the grid of 2n and its vertices [V', 3], new ones at edge midpoints."""
        coarse = points[self.vertex_of].reshape(self.side, self.side, 3)
        fine = OctahedralGrid(2 * self.n)
        lattice = np.empty((fine.side, fine.side, 3))
        lattice[::2, ::2] = coarse
        lattice[::2, 1::2] = (coarse[:, 1:] + coarse[:, :-1]) / 2
        lattice[1::2, ::2] = (coarse[1:] + coarse[:-1]) / 2
        positive = np.arange(-self.n, self.n) >= 0
        falling = (positive[:, None] == positive[None, :])[:, :, None]
        across = np.where(falling, coarse[1:, :-1] + coarse[:-1, 1:], coarse[1:, 1:] + coarse[:-1, :-1])
        lattice[1::2, 1::2] = across / 2
        return fine, lattice.reshape(-1, 3)[fine.representatives]

    def surface(self, points: np.ndarray, uv: np.ndarray, margin: float) -> np.ndarray:
        """Points of the mesh at texture coordinates `uv` [N, 2]; beyond the border the glued neighbour goes on."""
        n = self.n
        a, b = ((uv.T - margin) * (2 * n / (1 - 2 * margin))) - n
        a, b = np.where(np.abs(a) > n, np.sign(a) * 2 * n - a, a), np.where(np.abs(a) > n, -b, b)
        a, b = np.where(np.abs(b) > n, -a, a), np.where(np.abs(b) > n, np.sign(b) * 2 * n - b, b)
        column, row = (np.clip(np.floor(x).astype(int), -n, n - 1) for x in (a, b))
        s, t = a - column, b - row
        falling = (column >= 0) == (row >= 0)
        first = np.where(falling, s + t <= 1, t <= s)
        triangle = 2 * ((row + n) * 2 * n + column + n) + np.where(first, 0, 1)
        weights = np.where(
            falling,
            np.where(first, [1 - s - t, s, t], [1 - t, s + t - 1, 1 - s]),
            np.where(first, [1 - s, s - t, t], [1 - t, s, t - s]),
        )
        corners = points[self.faces[triangle]]  # [N, 3, 3]
        return sum(weights[k][:, None] * corners[:, k] for k in range(3))


def length(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths of `vectors` [..., 3] in a fixed order of operations."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.sqrt(x * x + y * y + z * z)


def turned(points: np.ndarray, axis: int, half_tangent: float) -> np.ndarray:
    """`points` [..., 3] turned about coordinate axis `axis` by the angle whose half has this tangent."""
    cosine = (1 - half_tangent * half_tangent) / (1 + half_tangent * half_tangent)
    sine = 2 * half_tangent / (1 + half_tangent * half_tangent)
    second, third = (axis + 1) % 3, (axis + 2) % 3
    result = np.array(points, dtype=float)
    result[..., second] = cosine * points[..., second] - sine * points[..., third]
    result[..., third] = sine * points[..., second] + cosine * points[..., third]
    return result


def ellipsoid(points: np.ndarray, centre, radii, half_tangent: float = 0.0) -> np.ndarray:
    """About the distance to an ellipsoid turned about X, [N]; negative inside (exact to first order at the surface)."""
    local = turned(points - np.asarray(centre, float), 0, -half_tangent) / np.asarray(radii, float)
    scaled = length(local)
    slope = length(local / np.asarray(radii, float))
    return scaled * (scaled - 1) / np.maximum(slope, 1e-9)


def capsule(points: np.ndarray, start, end, radius_start: float, radius_end: float) -> np.ndarray:
    """About the distance to a round cone between two points, [N]; negative inside."""
    start, axis = np.asarray(start, float), np.asarray(end, float) - np.asarray(start, float)
    offset = points - start
    along = offset[:, 0] * axis[0] + offset[:, 1] * axis[1] + offset[:, 2] * axis[2]
    along = np.clip(along / (axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]), 0, 1)
    return length(offset - along[:, None] * axis) - (radius_start + (radius_end - radius_start) * along)


def blend(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Union of two distance fields with a round seam of `width` (Quilez, polynomial smooth minimum)."""
    overlap = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - overlap * overlap * width / 4


def slope(field, points: np.ndarray, step: float = 1e-4) -> tuple[np.ndarray, np.ndarray]:
    """Values [N] and gradients [N, 3] of `field` at `points`, by central differences in one call of `field`."""
    offsets = np.zeros((7, 1, 3))
    for axis in range(3):
        offsets[1 + 2 * axis, 0, axis], offsets[2 + 2 * axis, 0, axis] = step, -step
    values = field((points + offsets).reshape(-1, 3)).reshape(7, -1)
    return values[0], np.stack([values[1] - values[2], values[3] - values[4], values[5] - values[6]], 1) / (2 * step)


def flow(points: np.ndarray, faces: np.ndarray, field, density, rounds: int, even: float = 1.0) -> np.ndarray:
    """Spread vertices over the surface field = 0 so that triangles are small where `density` is high; [V, 3].

    Each round moves every vertex in the tangent plane towards the mean of its triangles' centroids, and along the
    field's gradient onto the surface. The weights (area times density, squared) draw vertices to large triangles;
    `even` adds a constant that keeps triangles well shaped.
    """
    for _ in range(rounds):
        a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
        centroids = (a + b + c) / 3
        weights = (length(np.cross(b - a, c - a)) * density(centroids)) ** 2
        weights = weights + even * np.median(weights)
        total = scatter(faces, weights, len(points))
        target = np.stack([scatter(faces, weights * centroids[:, k], len(points)) / total for k in range(3)], 1)
        values, normals = slope(field, points)
        normals = normals / length(normals)[:, None]
        move = (target - points) * 0.6
        inward = move[:, 0] * normals[:, 0] + move[:, 1] * normals[:, 1] + move[:, 2] * normals[:, 2]
        points = points + move - (inward + np.clip(values, -0.05, 0.05))[:, None] * normals
    for _ in range(4):
        values, normals = slope(field, points)
        points = points - (values / length(normals) ** 2)[:, None] * normals
    return points


def scatter(faces: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum `values` [F] of each face over its vertices; [count]."""
    return np.bincount(faces.ravel(), np.repeat(values, 3), count)


def centred(points: np.ndarray, radius: float) -> np.ndarray:
    """Move the bounding box's centre to the origin and scale so that the farthest point lies at `radius`."""
    points = points - (points.min(0) + points.max(0)) / 2
    return points * (radius / length(points).max())


def write_obj(path: Path, vertices, faces, uvs=None, uv_faces=None) -> None:
    """Write a Wavefront OBJ: `vertices` [V, 3], `faces` int [F, 3], optional `uvs` [T, 2] with their own indices."""
    lines = [f"# {path.name}: made by scenes/make_models.py"]
    lines.append(f"o {path.stem}")
    lines.extend("v " + _decimals(row) for row in np.asarray(vertices, float).tolist())
    if uvs is not None:
        lines.extend("vt " + _decimals(row) for row in np.asarray(uvs, float).tolist())
    if uvs is None:
        lines.extend("f {} {} {}".format(*row) for row in (np.asarray(faces) + 1).tolist())
    else:
        pairs = np.stack([np.asarray(faces) + 1, np.asarray(uv_faces) + 1], 2).reshape(-1, 6)
        lines.extend("f {}/{} {}/{} {}/{}".format(*row) for row in pairs.tolist())
    path.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def write_glb(path: Path, vertices, faces, uvs=None, uv_faces=None, texture: str | None = None) -> None:
    """Write a binary glTF of one mesh: `vertices` [V, 3], `faces` int [F, 3], optional `uvs` [T, 2] with their own
    indices; single precision, `uvs` in 16 bits. At a seam a vertex stands once for each of its texture coordinates.

    texture: name of a picture beside `path`, the colour of the material.
    """
    faces = np.asarray(faces)
    corners = faces[..., None] if uvs is None else np.stack([faces, np.asarray(uv_faces)], -1)
    rows, indices = np.unique(corners.reshape(-1, corners.shape[-1]), axis=0, return_inverse=True)
    places = np.asarray(vertices, float)[rows[:, 0]].astype("<f4")
    parts = [indices.reshape(-1).astype("<u2"), places]
    attributes = {"POSITION": 1}
    if uvs is not None:
        attributes["TEXCOORD_0"] = 2
        downwards = np.asarray(uvs, float)[rows[:, 1]] * (1, -1) + (0, 1)  # as glTF's v goes
        parts.append(np.rint(downwards * 65535).astype("<u2"))
    views, accessors, data = [], [], b""
    for part, (kind, component) in zip(parts, (("SCALAR", 5123), ("VEC3", 5126), ("VEC2", 5123)), strict=False):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": part.nbytes})
        accessors.append({"bufferView": len(accessors), "componentType": component, "count": len(part), "type": kind})
        data += part.tobytes() + bytes(-part.nbytes % 4)
    if uvs is not None:
        accessors[2]["normalized"] = True
    accessors[1] |= {"min": places.min(0).tolist(), "max": places.max(0).tolist()}
    primitive = {"attributes": attributes, "indices": 0}
    table = {"asset": {"version": "2.0", "generator": "tidr"}, "scene": 0, "scenes": [{"nodes": [0]}]}
    table |= {"nodes": [{"mesh": 0, "name": path.stem}], "meshes": [{"primitives": [primitive]}]}
    if texture is not None:
        looks = {"baseColorTexture": {"index": 0}, "metallicFactor": 0}
        table |= {"images": [{"uri": texture}], "textures": [{"source": 0}]}
        table["materials"] = [{"name": "paint", "pbrMetallicRoughness": looks}]
        primitive["material"] = 0
    table |= {"buffers": [{"byteLength": len(data)}], "bufferViews": views, "accessors": accessors}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    path.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)


def _decimals(row: list[float]) -> str:
    """Numbers of up to five decimals."""
    return " ".join(f"{round(value, 5) + 0.0:.5f}".rstrip("0").rstrip(".") for value in row)  # + 0.0 turns -0 into 0
