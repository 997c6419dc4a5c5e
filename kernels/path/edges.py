"""Edges of a scene's triangles as a path's vertex or a sensor sees them, how one is drawn, and light along drawn rays.

`edges` int [E, COLUMNS]: two vertices, the corner across in either face (-1: a border), a face, and how radiance may
jump across where both faces are seen (CREASE: where they are not in one plane, SEAM: always, SMOOTH: a little, by each
face's own shadow, the more they differ). An edge occludes what is behind where its faces lie on one side of the plane
through it and the eye. `cdf` [E + 1].
"""

import taichi as ti

from .. import bvh, rng
from ..accumulate import load3
from ..compiling import large
from ..transport import hit, materials
from ..transport.tables import Tables
from .trace import follow

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

TAIL, HEAD, LEFT, RIGHT, FACE, JUMP, COLUMNS = 0, 1, 2, 3, 4, 5, 6
SMOOTH, CREASE, SEAM = 0, 1, 2
GRAZING = 64  # rounding errors within which a face counts as seen edge on
FLAT = 1000  # rounding errors of the sine of the angle below which two faces count as one plane
RAY, RAY_KEY, RAY_DEPTH, RAY_WHOLES = 6, 0, 1, 2  # of a ray: origin and direction; its key, and edges left (0: no ray)


@ti.func
def ends(positions: ti.template(), edges: ti.template(), edge):
    """The two vertices of an edge."""
    return load3(positions, edges[edge, TAIL]), load3(positions, edges[edge, HEAD])


@ti.func
def side(positions: ti.template(), vertex, a, across):
    """On which side of a plane through `a` with normal `across` a vertex lies: 1, -1, or 0 for (nearly) in it."""
    to = load3(positions, vertex) - a
    height = to.dot(across)
    found = 0
    if ti.abs(height) > ti.static(GRAZING * bvh.epsilon()) * to.norm() * across.norm():
        found = 1 if height > 0.0 else -1
    return found


@ti.func
def outline(positions: ti.template(), edges: ti.template(), edge, a, across):
    """1 or -1, the side of the plane through the eye and the edge that is seen past an edge that occludes; else 0."""
    left = side(positions, edges[edge, LEFT], a, across)
    right = left
    if edges[edge, RIGHT] >= 0:
        right = side(positions, edges[edge, RIGHT], a, across)
    return -left if left == right else 0


@ti.func
def fold(positions: ti.template(), edges: ti.template(), edge, a, e):
    """Sine of the angle by which one face goes on in another direction than the other; 1 from a right angle on."""
    found = 1.0
    if edges[edge, RIGHT] >= 0:
        left, right = (
            e.cross(load3(positions, edges[edge, LEFT]) - a),
            e.cross(load3(positions, edges[edge, RIGHT]) - a),
        )
        if left.dot(right) < 0.0:
            found = left.cross(right).norm() / ti.max(left.norm() * right.norm(), 1e-30)
            if found <= ti.static(FLAT * bvh.epsilon()):
                found = 0.0
    return found


@ti.func
def pick(cdf: ti.template(), count, u):
    """The edge whose part of [0, 1) u lies in, and its probability."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if cdf[middle] <= u:
            low = middle
        else:
            high = middle
    return low, cdf[low + 1] - cdf[low]


@ti.func
def opacity(mask: ti.template(), t: ti.template(), edges: ti.template(), edge, s):
    """How much of the light behind the edge's face the face keeps off at the place s."""
    solid = 1.0
    if ti.static(mask >> materials.OPACITIES & 1):
        face, u, v = edges[edge, FACE], 0.0, 0.0
        for c in ti.static(range(3)):
            weight = 0.0
            if t.faces[face, c] == edges[edge, TAIL]:
                weight = 1.0 - s
            elif t.faces[face, c] == edges[edge, HEAD]:
                weight = s
            if ti.static(c == 1):
                u = weight
            if ti.static(c == 2):
                v = weight
        uv, _color = hit.textured(mask, t, face, u, v)
        solid = materials.opacity(mask, t.faces[face, 9], uv, 0.0, t)
    return solid


@ti.func
def put_ray(rays: ti.template(), wholes: ti.template(), row, o, d, key, depth):
    for c in ti.static(range(3)):
        rays[row, c] = o[c]
        rays[row, 3 + c] = d[c]
    wholes[row, RAY_KEY] = ti.cast(key, ti.i32)
    wholes[row, RAY_DEPTH] = depth


@ti.kernel
def weigh(count: ti.i32, positions: A2, edges: A2I, cdf: A1):
    """cdf[edge + 1] = the root of the length of every edge that may occlude: the long ones are seldom the near ones."""
    for edge in range(count):
        a, b = ends(positions, edges, edge)
        cdf[edge + 1] = 0.0
        if fold(positions, edges, edge, a, b - a) > 0.0:
            cdf[edge + 1] = ti.sqrt((b - a).norm())


@large
@ti.kernel
def arrive(
    mask: ti.template(), light_kinds: ti.template(), count: ti.i32, roulette_depth: ti.i32, red: float,
    green: float, blue: float, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, media: A2, media_places: A2, media_values: A2, rays: A2,
    wholes: A2I, out: A2,
):  # fmt: skip
    """out [count, 3]: the radiance that comes along each ray, in so many edges of a path as it has left; and the colour
    (red, green, blue) where it meets nothing."""
    for index in range(count):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        light = ti.Vector([0.0, 0.0, 0.0])
        if wholes[index, RAY_DEPTH] > 0:
            o = ti.Vector([rays[index, 0], rays[index, 1], rays[index, 2]])
            d = ti.Vector([rays[index, 3], rays[index, 4], rays[index, 5]])
            key = rng.mix(ti.cast(wholes[index, RAY_KEY], ti.u32), 0)
            light, met = follow(mask, light_kinds, t, o, d, key, wholes[index, RAY_DEPTH], roulette_depth, 0, None, 0)
            light += (1.0 - met) * ti.Vector([red, green, blue])
        for c in ti.static(range(3)):
            out[index, c] = light[c]
