"""`bake`: the lit picture of a surface as one texture, or as colours of its vertices, that need no light."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import GradientError, SceneError
from tidr.fitting.tape import recording
from tidr.ops import rasterize
from tidr.parameter import Constraint, Parameter
from tidr.parameter import nearest as like
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh
from tidr.scene.neighbors import nearest
from tidr.scene.simplify import unwrap
from tidr.scene.texture import Texture

from . import mesh_colors
from .entries import Entries
from .raster import HardFrame, Rasterizer, frame_of

AT_ONCE = 1 << 18  # samples that are shaded together
PER_FACE, STEPS = 16, 40  # samples of a triangle for the colours of its vertices, and rounds to find those
UNSEEN = 1e-6  # weight of a camera that something hides, against one that sees


def bake(
    scene: Scene,
    nodes: Sequence[str] | None = None,
    *,
    to: str = "texture",
    size: int = 512,
    cameras: Sequence[str | Camera] | None = None,
    renderer: Rasterizer | None = None,
) -> Scene:
    """The scene with lit meshes turned into colours that need no light: they emit what they showed.

    A point's colour is the mean of what it sends to the cameras that see it, by how many pixels it covers there, of all
    unlit colours the nearest to their pictures. Diffuse surfaces thus stay as they were and highlights are smeared; one
    camera keeps its own. Points hidden from all cameras have what those would see, points turned away from all the
    colour of the nearest other. From behind a baked surface is black.

    Args:
        nodes: names of nodes with a mesh; all of them when None.
        to: "texture", about size x size texels a node, on the mesh's own uvs where they fill the unit square without
            overlap, else on those of `tidr.unwrap`; or "vertex_colors", by least squares over the surface (Kavan,
            Bargteil and Sloan 2011, "Least Squares Vertex Baking").
        cameras: names, or cameras; all of the scene's when None. `tidr.sphere_views` stand all around.
        renderer: how light falls: its shadows, ambient occlusion, shader, but no reflections or subsurface.

    Returns:
        A scene that shares with the one given all but the baked nodes, whose material "<node>_baked" is `lambert` of
        albedo 0 and an emission without bounds.

    What this does not differentiate: everything; fit the emission through the renderer from here.

    Raises:
        SceneError: no such node or no mesh there, no camera, a wrong `to` or `size`, or no library xatlas for new uvs.
        GradientError: a tape is open.
    """
    if recording():
        raise GradientError("bake", "is no step of a tape", "call it outside of `with tidr.Tape()`")
    if to not in ("texture", "vertex_colors") or not 4 <= size <= 8192:
        raise SceneError("bake", f"to is {to!r}, size {size}", '"texture" or "vertex_colors", 4 to 8192 texels')
    names = [name for name, node in scene.nodes.items() if isinstance(node.geometry, Mesh)] if nodes is None else nodes
    for name in names:
        if name not in scene.nodes:
            raise SceneError(f"nodes.{name}", "no such node", like(name, scene.nodes))
    chosen = [scene.cameras.get(each) if isinstance(each, str) else each for each in cameras or scene.cameras]
    known = [each for each in chosen if each is not None]
    if not known or len(known) < len(chosen):
        raise SceneError("cameras", f"{cameras or 'none'} are not in the scene", "pass cameras=tidr.sphere_views(...)")
    lit = _Lit(scene, known, replace(renderer or Rasterizer(), edges="none", channels=("rgb",)))
    made = Scene(scene.film)
    made.unseen, made.cameras, made.lights = scene.unseen, dict(scene.cameras), dict(scene.lights)
    made.materials = dict(scene.materials)
    for name, node in scene.nodes.items():
        made.nodes[name] = node
        if name in names:
            mesh, emission = (_to_texture if to == "texture" else _to_vertices)(lit, node, size)
            made.add_material(f"{name}_baked", Material("lambert", albedo=0.0, emission=emission))
            baked = made.nodes[name] = copy(node)
            baked.geometry, baked.materials = mesh, (f"{name}_baked",)
    return made


@dataclass
class _Lit:
    """The scene as cameras see it."""

    scene: Scene
    cameras: Sequence[Camera]
    settings: Rasterizer

    def colors(self, node: Node, faces: np.ndarray, bary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What cameras see of points of a node's mesh on average, [n, 3], and the weights of that, [n]."""
        total, weights, points = np.zeros((len(faces), 3)), np.zeros(len(faces)), np.zeros((len(faces), 3))
        for camera in self.cameras:
            frame = frame_of(self.settings, self.scene, [camera], camera.width, camera.height)
            assert isinstance(frame, HardFrame)
            pack = frame.world.pack
            number = [each.node for each in pack.instances].index(node)
            first = sum(len(each.mesh.faces) for each in pack.instances[:number])
            corners = frame.world.positions.numpy().astype(np.float64)[pack.triangles.to_numpy()[first + faces]]
            points = (bary[:, :, None] * corners).sum(1)
            seen = _seen(frame, points, corners)
            for start in range(0, len(faces), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                total[part] += seen[part, None] * self._shaded(frame, first + faces[part], bary[part], points[part])
            weights += seen
        found = total / np.maximum(weights, 1e-300)[:, None]
        blind = weights == 0
        if blind.any() and not blind.all():
            found[blind] = found[~blind][nearest(points[~blind], points[blind])[0][:, 0]]
        return found, weights

    def _shaded(self, frame: HardFrame, faces: np.ndarray, bary: np.ndarray, points: np.ndarray) -> np.ndarray:
        column, row, _ = np.floor(_pixels(frame, points)).clip(-1e6, 1e6)
        place = np.stack([0 * row, row, column], 1).ravel().astype(np.int32)
        weights, count = Array.of(bary), len(faces)
        found = Buffer.of(place), Buffer.of(faces.astype(np.int32))
        entries = Entries(count, count, *found, frame.views, frame.world, frame.entries.screen)
        return mesh_colors.colors(self.settings, self.scene, entries, weights).numpy()


def _pixels(frame: HardFrame, points: np.ndarray) -> np.ndarray:
    """[3, n] column, row and depth of points; far out of the picture where they lie behind the camera."""
    matrix = frame.views.projection.numpy().astype(np.float64).reshape(4, 4)
    column, row, w, depth = matrix @ np.column_stack([points, np.ones(len(points))]).T
    ahead = w > 1e-12
    return np.stack([np.where(ahead, each / np.where(ahead, w, 1.0), -1e6) for each in (column, row)] + [depth])


def _seen(frame: HardFrame, points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """[n] pixels that a piece of surface covers, to a common factor; hidden ones count UNSEEN of it."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    eye = frame.views.eye.numpy().astype(np.float64)[0]
    ways = eye[:3] - eye[3] * points
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(ways, axis=1) ** 3
    depth, alpha = (frame.makers()[name]().numpy()[0, ..., 0] for name in ("depth", "alpha"))
    height, width = depth.shape
    depth = np.pad(np.where(alpha > 0, depth, np.inf), 1, constant_values=np.inf)
    windows = [depth[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    farthest = np.max(windows, axis=0)  # of a pixel's neighbours, so that steep surfaces do not hide themselves
    column, row, own = _pixels(frame, points)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = farthest[np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)]
    size = np.maximum((ways * normals).sum(1), 0) / np.maximum(lengths, 1e-300)
    return size * np.where(inside & (own <= 1.001 * found), 1.0, UNSEEN)


def _to_texture(lit: _Lit, node: Node, size: int) -> tuple[Mesh, Texture]:
    mesh = _of_one_material(node.mesh)
    texels = texels_of(mesh, size)
    if texels is None:
        mesh = unwrap(mesh, size)
        texels = texels_of(mesh, size)
        assert texels is not None
    place, faces, bary = texels
    colors, _ = lit.colors(node, faces, bary)
    picture = np.broadcast_to(colors.mean(0), (size, size, 3)).copy()
    picture[place] = np.maximum(colors, 0)
    return mesh, Texture(picture, wrap="clamp")


def texels_of(mesh: Mesh, size: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray] | None:
    """(row, column) of texels on the mesh and of a rim one texel wide, their triangles, and where in these they lie.

    None where the mesh has no uvs, or such as leave the unit square or lie on each other.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        return None
    uvs = mesh.uvs.numpy().astype(np.float64)
    corners = uvs[mesh.uv_faces]
    edges = corners[:, 1:] - corners[:, :1]
    areas = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    clip = np.column_stack([2 * uvs - 1, np.zeros(len(uvs)), np.ones(len(uvs))])
    rast, _ = rasterize(clip, mesh.uv_faces, (size, size))
    face = rast.numpy()[0, ..., 3].astype(int) - 1
    covered = (face >= 0).sum()
    if covered == 0 or corners.min() < -1e-6 or corners.max() > 1 + 1e-6:
        return None
    if np.abs(areas).sum() / 2 * size**2 > 1.02 * covered + 4 * size:
        return None
    around = np.pad(face, 1, constant_values=-1)
    for y, x in ((1, 0), (1, 2), (0, 1), (2, 1), (0, 0), (0, 2), (2, 0), (2, 2)):
        face = np.where(face < 0, around[y : y + size, x : x + size], face)
    row, column = np.nonzero(face >= 0)
    faces = face[row, column]
    given = np.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1) - corners[faces, 0]
    a, b = edges[faces, 0], edges[faces, 1]
    whole = np.where(np.abs(areas[faces]) > 1e-300, areas[faces], 1.0)
    u = (given[:, 0] * b[:, 1] - given[:, 1] * b[:, 0]) / whole
    v = (a[:, 0] * given[:, 1] - a[:, 1] * given[:, 0]) / whole
    bary = np.clip(np.stack([1 - u - v, u, v], 1), 0, None)
    return (row, column), faces, bary / bary.sum(1, keepdims=True)


def _to_vertices(lit: _Lit, node: Node, size: int) -> tuple[Mesh, str]:
    mesh = node.mesh
    k = np.arange(PER_FACE)
    spread = np.sqrt((k + 0.5) / PER_FACE)  # evenly in area: a lattice of the golden ratio, folded into the triangle
    turn = (k * 0.6180339887498949) % 1.0
    one = np.stack([1 - spread, spread * (1 - turn), spread * turn], 1)
    faces, bary = np.repeat(np.arange(len(mesh.faces)), PER_FACE), np.tile(one, (len(mesh.faces), 1))
    colors, weights = lit.colors(node, faces, bary)
    places = mesh.vertices.numpy().astype(np.float64)[mesh.faces]
    areas = np.linalg.norm(np.cross(places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]), axis=1)
    weights = np.maximum(weights, UNSEEN * weights.max()) * areas[faces]
    corners, found = mesh.faces[faces], np.zeros((mesh.vertices.rows, 3))
    shares = (bary * weights[:, None]).ravel()
    whole = np.maximum(np.bincount(corners.ravel(), shares, len(found)), 1e-300)
    for _ in range(STEPS):  # each takes vertices' shares of what is left; it grows less as whole bounds the matrix
        left = np.repeat(colors - (bary[:, :, None] * found[corners]).sum(1), 3, axis=0)
        found += np.stack([np.bincount(corners.ravel(), shares * left[:, c], len(found)) / whole for c in range(3)], 1)
    made = _of_one_material(mesh)
    made.colors = Parameter(np.maximum(found, 0), Constraint(clamp=(0.0, np.inf)))
    return made, "vertex_colors"


def _of_one_material(mesh: Mesh) -> Mesh:
    """The same mesh, its parameters shared, with its first material everywhere."""
    made = copy(mesh)
    made.face_materials = np.zeros_like(mesh.face_materials)
    return made
