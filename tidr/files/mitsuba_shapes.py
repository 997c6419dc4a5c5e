"""Mitsuba's shapes as meshes in their own space, with its uvs: v is 0 at a picture's top, so tidr's v is 1 - v."""

from dataclasses import replace
from functools import cache

import numpy as np

from tidr.scene.mesh_data import MeshData

from .guard import Limits
from .imported import turned
from .mesh import read_mesh
from .mitsuba_items import Item
from .mitsuba_transforms import scale, translate

AROUND = 128  # flat sides of what is round
RINGS = 64  # of a sphere, from pole to pole


def shape_mesh(item: Item, limits: Limits) -> tuple[MeshData, np.ndarray, str, bool]:
    """A shape: its mesh, with v as Mitsuba has it; object_to_world [4, 4]; shading; and whether its faces keep their
    side where the transform mirrors it."""
    matrix, flip = item.transform(), item.flag("flip_normals", False)
    keeps, shading = True, "flat"
    if item.type in ("obj", "ply"):
        data, shading = _file(item, limits)
        keeps = data.normals is not None
    elif item.type == "rectangle":
        data = rectangle()
    elif item.type == "cube":
        data = cube()
    elif item.type == "disk":
        data = disk()
    elif item.type == "sphere":
        centre, radius = item.vector("center", (0.0, 0.0, 0.0)), item.number("radius", 1.0, 1e-12)
        matrix = matrix @ translate(centre) @ scale([radius] * 3)
        data, shading, keeps = sphere(), "file", False
    else:
        matrix = matrix @ _between(item)
        data, shading = cylinder(), "file"
    return turned(data) if flip else data, matrix, shading, keeps


def _file(item: Item, limits: Limits) -> tuple[MeshData, str]:
    data = replace(read_mesh(item.file("filename", limits), limits), face_materials=None, materials=())
    if data.uvs is not None and item.flag("flip_tex_coords", item.type == "obj"):
        data = replace(data, uvs=data.uvs * [1, -1] + [0, 1])
    if item.flag("face_normals", False):
        return replace(data, normals=None, normal_faces=None), "flat"
    return data, "smooth" if data.normals is None else "file"


def _between(item: Item) -> np.ndarray:
    """Takes the cylinder of radius 1 from 0 to z = 1 to that of radius `radius` from p0 to p1."""
    start, end = item.vector("p0", (0.0, 0.0, 0.0)), item.vector("p1", (0.0, 0.0, 1.0))
    radius, along = item.number("radius", 1.0, 1e-12), end - start
    length = np.linalg.norm(along)
    if not length > 1e-12:
        raise item.fault("p0 and p1 are the same point", "give an axis that has a length")
    z = along / length
    # The frame of Duff et al. 2017, "Building an Orthonormal Basis, Revisited".
    sign = np.copysign(1.0, z[2])
    a = -1.0 / (sign + z[2])
    x = np.array([1.0 + sign * z[0] * z[0] * a, sign * z[0] * z[1] * a, -sign * z[0]])
    made = translate(start)
    made[:3, :3] = np.stack([radius * x, radius * np.cross(z, x), along], 1)
    return made


@cache
def rectangle() -> MeshData:
    """The square from -1 to 1 in x and y, which faces +z."""
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return MeshData(np.column_stack([2 * uvs - 1, np.zeros(4)]), faces, uvs=uvs, uv_faces=faces)


@cache
def cube() -> MeshData:
    """The cube from -1 to 1; each side has all of the uv square."""
    # For each side its normal and the ways in which u and v grow.
    sides = (
        ((0, 0, 1), (0, 1, 0), (1, 0, 0)), ((0, 0, -1), (0, -1, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
        ((-1, 0, 0), (0, 1, 0), (0, 0, 1)), ((0, 1, 0), (-1, 0, 0), (0, 0, -1)), ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
    )  # fmt: skip
    corners, faces, uv_faces = [], [], []
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    for normal, u, v in np.array(sides, np.float64):
        order = [0, 1, 2, 3] if np.cross(u, v) @ normal > 0 else [3, 2, 1, 0]
        first = len(corners)
        corners += [normal + (2 * s - 1) * u + (2 * t - 1) * v for s, t in square]
        for triangle in ((0, 1, 2), (0, 2, 3)):
            faces.append([first + order[k] for k in triangle])
            uv_faces.append([order[k] for k in triangle])
    points, which = np.unique(np.array(corners), axis=0, return_inverse=True)
    faces = which.reshape(-1)[np.array(faces)].astype(np.int32)
    return MeshData(points, faces, uvs=square, uv_faces=np.array(uv_faces, np.int32))


@cache
def disk() -> MeshData:
    """The unit disk around 0, which faces +z; u is the radius, v the angle."""
    angles = 2 * np.pi * np.arange(AROUND) / AROUND
    rim = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(AROUND)])
    k = np.arange(AROUND)
    faces = np.column_stack([k * 0, 1 + k, 1 + (k + 1) % AROUND]).astype(np.int32)
    steps = np.arange(AROUND + 1) / AROUND
    uvs = np.concatenate([np.column_stack([steps * 0, steps]), np.column_stack([steps * 0 + 1, steps])])
    uv_faces = np.column_stack([k, AROUND + 1 + k, AROUND + 2 + k]).astype(np.int32)
    return MeshData(np.concatenate([[[0.0, 0, 0]], rim]), faces, uvs=uvs, uv_faces=uv_faces)


@cache
def cylinder() -> MeshData:
    """The open cylinder of radius 1 around z, from 0 to 1, seen from outside."""
    angles, k = 2 * np.pi * np.arange(AROUND) / AROUND, np.arange(AROUND)
    ring = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(AROUND)])
    after = (k + 1) % AROUND
    faces = np.concatenate(
        [np.column_stack([k, after, after + AROUND]), np.column_stack([k, after + AROUND, k + AROUND])]
    )
    steps = np.arange(AROUND + 1) / AROUND
    uvs = np.concatenate([np.column_stack([steps, steps * 0]), np.column_stack([steps, steps * 0 + 1])])
    up = AROUND + 1
    uv_faces = np.concatenate([np.column_stack([k, k + 1, k + 1 + up]), np.column_stack([k, k + 1 + up, k + up])])
    corners = np.concatenate([ring, ring + np.eye(3)[2]])
    return MeshData(
        corners, faces.astype(np.int32), uvs=uvs, uv_faces=uv_faces.astype(np.int32),
        normals=ring, normal_faces=(faces % AROUND).astype(np.int32),
    )  # fmt: skip


@cache
def sphere() -> MeshData:
    """The unit sphere with its own normals; u is the angle around z, v that from +z over pi.

    Its corners lie so far outside that its volume is that of the sphere.
    """
    low, around = np.pi * np.arange(RINGS + 1) / RINGS, 2 * np.pi * np.arange(AROUND) / AROUND
    belt = np.stack(
        [
            np.outer(np.sin(low), np.cos(around)),
            np.outer(np.sin(low), np.sin(around)),
            np.outer(np.cos(low), np.ones(AROUND)),
        ],
        -1,
    )
    normals = np.concatenate([[[0, 0, 1.0]], belt[1:-1].reshape(-1, 3), [[0, 0, -1.0]]])
    uv_steps = np.stack(np.meshgrid(np.arange(AROUND + 1) / AROUND, np.arange(RINGS + 1) / RINGS), -1)
    faces, uv_faces = [], []

    def corner(ring: np.ndarray, k: np.ndarray) -> np.ndarray:
        inner = 1 + (ring - 1) * AROUND + k % AROUND
        return np.where(ring == 0, 0, np.where(ring == RINGS, len(normals) - 1, inner))

    ring, k = (array.ravel() for array in np.meshgrid(np.arange(RINGS), np.arange(AROUND), indexing="ij"))
    for steps in (((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 1), (0, 1))):
        keep = ring + 1 < RINGS if steps[1] == (1, 0) and steps[2] == (1, 1) else ring > 0
        places = [(ring[keep] + down, k[keep] + right) for down, right in steps]
        faces.append(np.stack([corner(*place) for place in places], 1))
        uv_faces.append(np.stack([r * (AROUND + 1) + c for r, c in places], 1))
    triangles = np.concatenate(faces).astype(np.int32)
    a, b, c = (normals[triangles[:, corner]] for corner in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    return MeshData(
        normals * (4 / 3 * np.pi / volume) ** (1 / 3), triangles, uvs=uv_steps.reshape(-1, 2),
        uv_faces=np.concatenate(uv_faces).astype(np.int32), normals=normals, normal_faces=triangles,
    )  # fmt: skip
