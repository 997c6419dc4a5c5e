"""Points off the surface of a mesh, with its normals and colours, as a point cloud."""

from collections.abc import Sequence

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Parameter

from .conversions import sample_surface, surface_places
from .graph import Node
from .material import Material
from .mesh import Mesh
from .neighbors import farthest_points
from .points import PointCloud
from .texture import Texture

CANDIDATES = 5  # points that one of an even sample is chosen from


def sample_points(
    mesh, count: int, seed: int = 0, *, materials: Sequence[Material] = (), even: bool = False
) -> PointCloud:
    """A point cloud on the surface of a mesh, in its object space.

    Normals are those that the mesh's shading shows: of the triangles ("flat"), the area-weighted ones of the vertices
    ("smooth") or those of the file. Colours are the albedo of the materials or, without any, the vertex colours; a mesh
    that has neither gives a cloud without colours.

    Args:
        mesh: a `Mesh`, or a node that holds one.
        count: points, spread by area.
        seed: of the random numbers; the same seed gives the same points.
        materials: one for each material slot of the mesh, as `[scene.materials[name] for name in node.materials]`.
            Textures are looked up bilinearly, without mipmaps.
        even: choose by `farthest_points` among five times as many, so that no two are close: blue noise, in place of
            the clumps and gaps of independent points. Takes time in count^2.

    Raises:
        SceneError: no mesh, no area, count below 1, fewer materials than slots, a texture on a mesh without uvs.
    """
    mesh = mesh.mesh if isinstance(mesh, Node) else mesh
    if not isinstance(mesh, Mesh):
        raise SceneError("sample_points.mesh", f"got {type(mesh).__name__}", "give a Mesh; tidr.extract makes one")
    many = count * CANDIDATES if even else count
    faces, weights = surface_places(mesh, many, seed)
    points, flat = sample_surface(mesh, many, seed)
    if even:
        kept = np.sort(farthest_points(points, count))
        faces, weights, points, flat = faces[kept], weights[kept], points[kept], flat[kept]
    normals = flat if mesh.shading == "flat" else _shading_normals(mesh, faces, weights, flat)
    return PointCloud(points, colors=_colors(mesh, faces, weights, materials), normals=normals)


def _blend(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[n, C] of values [V, C] at corners [n, 3]."""
    return np.einsum("nk,nkc->nc", weights, values[corners])


def _shading_normals(mesh: Mesh, faces: np.ndarray, weights: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Unit normals [n, 3]; where they cancel out, that of the triangle."""
    if mesh.shading == "file" and mesh.normals is not None and mesh.normal_faces is not None:
        given, corners = mesh.normals.numpy().astype(np.float64), mesh.normal_faces
    else:
        vertices = mesh.vertices.numpy().astype(np.float64)
        a, b, c = (vertices[mesh.faces[:, k]] for k in range(3))
        given, corners = np.zeros_like(vertices), mesh.faces
        np.add.at(given, mesh.faces.ravel(), np.repeat(np.cross(b - a, c - a), 3, 0))
        given /= np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-300)
    normals = _blend(given, corners[faces], weights)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), flat)


def _colors(mesh: Mesh, faces: np.ndarray, weights: np.ndarray, materials: Sequence[Material]) -> np.ndarray | None:
    """[n, 3] linear RGB in [0, 1], or None."""
    of_vertices = None
    if mesh.colors is not None:
        of_vertices = _blend(mesh.colors.numpy().astype(np.float64), mesh.faces[faces], weights).clip(0, 1)
    if not materials:
        return of_vertices
    slots = mesh.face_materials[faces]
    if int(mesh.face_materials.max()) >= len(materials):
        most = int(mesh.face_materials.max()) + 1
        raise SceneError("sample_points.materials", f"has {len(materials)}, the mesh {most} slots", "give one for each")
    colors = np.empty((len(faces), 3))
    for slot in np.unique(slots):
        here = slots == slot
        colors[here] = _albedo(mesh, materials[slot], faces[here], weights[here], of_vertices, here)
    return colors.clip(0, 1)


def _albedo(mesh: Mesh, material: Material, faces, weights, of_vertices, here) -> np.ndarray:
    source = material.sources.get("albedo")
    if source is None:
        raise SceneError("sample_points.materials", f"a {material.type} has no albedo", "leave the materials out")
    if isinstance(source, Texture):
        if mesh.uvs is None or mesh.uv_faces is None:
            raise SceneError("sample_points.materials", "have a texture but the mesh has no uvs", "give it some")
        return _look_up(source, _blend(mesh.uvs.numpy().astype(np.float64), mesh.uv_faces[faces], weights))
    if isinstance(source, Parameter):
        return np.broadcast_to(source.numpy(), (len(faces), 3))
    if of_vertices is None:
        raise SceneError("sample_points.materials", 'have "vertex_colors" but the mesh has none', "give it some")
    return of_vertices[here]


def _look_up(texture: Texture, uv: np.ndarray) -> np.ndarray:
    """[n, C] bilinear: texel centres at +0.5, uv with its origin bottom left, row 0 of the texels on top."""
    texels = texture.texels.numpy().astype(np.float64)
    low, part = [], []
    for size, at in ((texels.shape[1], uv[:, 0]), (texels.shape[0], 1 - uv[:, 1])):
        place = at * size - 0.5
        low.append(np.floor(place).astype(np.int64))
        part.append((place - np.floor(place))[:, None])
    x = [_wrapped(low[0] + k, texels.shape[1], texture.wrap) for k in range(2)]
    y = [_wrapped(low[1] + k, texels.shape[0], texture.wrap) for k in range(2)]
    rows = [texels[y[k], x[0]] * (1 - part[0]) + texels[y[k], x[1]] * part[0] for k in range(2)]
    return rows[0] * (1 - part[1]) + rows[1] * part[1]


def _wrapped(index: np.ndarray, size: int, wrap: str) -> np.ndarray:
    if wrap == "repeat":
        return index % size
    if wrap == "mirror":
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    return index.clip(0, size - 1)
