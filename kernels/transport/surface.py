"""Points on triangles as paths see them: position, normals, shading frame; and their gradients to vertices.

Faces are int [F, 12]: corner rows 0-2 of positions, normal rows 3-5 (-1: flat), uv rows 6-8 (-1: none), material 9,
instance 10, light entry 11 (-1: none). A point is a triangle with barycentrics u, v of corners 1 and 2.
"""

import taichi as ti

from ..accumulate import load3

TINY = 1e-30


@ti.func
def unit(v):
    """v / |v|; 0 for v = 0."""
    return v / ti.sqrt(v.dot(v) + TINY)


@ti.func
def corners(faces: ti.template(), positions: ti.template(), triangle):
    """The three vertices of a triangle."""
    return (
        load3(positions, faces[triangle, 0]),
        load3(positions, faces[triangle, 1]),
        load3(positions, faces[triangle, 2]),
    )


@ti.func
def smooth_normal(faces: ti.template(), normals: ti.template(), triangle, u, v):
    """Interpolated normal, not of unit length; 0 where the face is flat shaded."""
    m = ti.Vector([0.0, 0.0, 0.0])
    if faces[triangle, 3] >= 0:
        m = (1.0 - u - v) * load3(normals, faces[triangle, 3])
        m += u * load3(normals, faces[triangle, 4]) + v * load3(normals, faces[triangle, 5])
    return m


@ti.func
def texture_coordinates(faces: ti.template(), uvs: ti.template(), triangle, u, v):
    """uv [2] of a point; 0 where the mesh has none."""
    at = ti.Vector([0.0, 0.0])
    if faces[triangle, 6] >= 0:
        for c in ti.static(range(2)):
            at[c] = (1.0 - u - v) * uvs[faces[triangle, 6], c]
            at[c] += u * uvs[faces[triangle, 7], c] + v * uvs[faces[triangle, 8], c]
    return at


@ti.func
def vertex_color(faces: ti.template(), colors: ti.template(), triangle, u, v):
    """Interpolated vertex colour [3]."""
    color = (1.0 - u - v) * load3(colors, faces[triangle, 0])
    return color + u * load3(colors, faces[triangle, 1]) + v * load3(colors, faces[triangle, 2])


@ti.func
def frame(n):
    """Two tangents that make (s, t, n) a right-handed orthonormal frame (Duff et al. 2017)."""
    sign = 1.0
    if n.z < 0.0:
        sign = -1.0
    a = -1.0 / (sign + n.z)
    b = n.x * n.y * a
    s = ti.Vector([1.0 + sign * n.x * n.x * a, sign * b, -sign * n.x])
    t = ti.Vector([b, sign + n.y * n.y * a, -n.y])
    return s, t


@ti.func
def to_local(s, t, n, w):
    return ti.Vector([s.dot(w), t.dot(w), n.dot(w)])


@ti.func
def to_world(s, t, n, w):
    return s * w.x + t * w.y + n * w.z


@ti.func
def frame_adjoint(s, t, n, w, g):
    """Gradient to n of the local direction w = (s.W, t.W, n.W), the tangents turning with n without twist."""
    return s * (g.z * w.x - g.x * w.z) + t * (g.z * w.y - g.y * w.z)


@ti.func
def direction_adjoint(d, distance, g):
    """Gradient to b of d = (b - a) / |b - a|; that to a is the opposite."""
    return (g - d * d.dot(g)) / distance
