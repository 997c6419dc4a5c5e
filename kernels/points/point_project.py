"""Points of the world on the images of a batch of cameras, and what lights need to know of them; with adjoints.

Rows over points and cameras: view * count + n. limits [views, 3]: perspective, near, far.
"""

import taichi as ti

from ..accumulate import load3, turns
from ..raster.project import columns

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def scale_radii(count: ti.i32, radii: A2, matrices: A2, instance: ti.i32, start: ti.i32, out: A2):
    """out[start + n] = radii[n] times the cube root of how much the matrix enlarges a volume."""
    for n in range(count):
        m0, m1, m2 = columns(matrices, instance)
        out[start + n, 0] = radii[n, 0] * ti.abs(m0.dot(m1.cross(m2))) ** (1.0 / 3.0)


@ti.kernel
def scale_radii_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, count: ti.i32, instances: ti.i32, radii: A2,
    matrices: A2, instance: ti.i32, start: ti.i32, grad_out: A2, grad_radii: A2, part: A1,
):  # fmt: skip
    """part [chunks * I * 16] += the matrix's gradient."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        m0, m1, m2 = columns(matrices, instance)
        volume = m0.dot(m1.cross(m2))
        scale, total = ti.abs(volume) ** (1.0 / 3.0), 0.0
        for k in range(size):
            n = p * across + k * along
            if n < count:
                g = grad_out[start + n, 0]
                grad_radii[n, 0] = grad_radii[n, 0] + g * scale
                total += g * radii[n, 0]
        share = total * scale / (3.0 * volume)
        to0, to1, to2 = m1.cross(m2) * share, m2.cross(m0) * share, m0.cross(m1) * share
        for i in ti.static(range(3)):
            slot = (p * instances + instance) * 16 + 4 * i
            part[slot] = part[slot] + to0[i]
            part[slot + 1] = part[slot + 1] + to1[i]
            part[slot + 2] = part[slot + 2] + to2[i]


@ti.kernel
def place(
    views: ti.i32, count: ti.i32, screen: A2, focal: A2, radii: A2, limits: A2, places: A2, depths: A2, reach: A2
):
    """Column and row, depth and radius in pixels from screen (column w, row w, w, depth); radius -1 where not drawn."""
    for item in range(views * count):
        view = item // count
        w, depth = screen[item, 2], screen[item, 3]
        depths[item, 0] = depth
        if depth > limits[view, 1] and depth < limits[view, 2] and w > 0.0:
            places[item, 0] = screen[item, 0] / w
            places[item, 1] = screen[item, 1] / w
            reach[item, 0] = radii[item - view * count, 0] * focal[view, 0] / w
        else:
            places[item, 0] = 0.0
            places[item, 1] = 0.0
            reach[item, 0] = -1.0


@ti.kernel
def place_adjoint(
    views: ti.i32, count: ti.i32, screen: A2, places: A2, reach: A2, grad_places: A2, grad_depths: A2, grad_reach: A2,
    grad_screen: A2,
):  # fmt: skip
    for item in range(views * count):
        grad_screen[item, 3] = grad_screen[item, 3] + grad_depths[item, 0]
        if reach[item, 0] >= 0.0:
            w = screen[item, 2]
            g0, g1 = grad_places[item, 0], grad_places[item, 1]
            along = g0 * places[item, 0] + g1 * places[item, 1] + grad_reach[item, 0] * reach[item, 0]
            grad_screen[item, 0] = grad_screen[item, 0] + g0 / w
            grad_screen[item, 1] = grad_screen[item, 1] + g1 / w
            grad_screen[item, 2] = grad_screen[item, 2] - along / w


@ti.kernel
def reach_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, views: ti.i32, count: ti.i32, screen: A2, focal: A2,
    radii: A2, reach: A2, grad_reach: A2, grad_radii: A2, part: A1,
):  # fmt: skip
    """Adds to the gradient of radii; part [chunks * views] is that of focal."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for view in range(views):
            total = 0.0
            for k in range(size):
                n = p * across + k * along
                item = view * count + n
                if n < count and reach[item, 0] >= 0.0:
                    g = grad_reach[item, 0] / screen[item, 2]
                    grad_radii[n, 0] = grad_radii[n, 0] + g * focal[view, 0]
                    total += g * radii[n, 0]
            part[p * views + view] = total


@ti.func
def sign_to(eye: ti.template(), view, position, normal):
    """1 where a normal is on the viewer's side, else -1."""
    return ti.select((load3(eye, view) - eye[view, 3] * position).dot(normal) >= 0.0, 1.0, -1.0)


@ti.kernel
def face(
    views: ti.i32, count: ti.i32, start: ti.i32, positions: A2, normals: A2, eye: A2, seen: A2, facing: A2, to_eye: A2
):
    """Of points start .. start + count: place, unit normal on the viewer's side and vector to the camera, each view."""
    for row in range(views * count):
        view = row // count
        n = start + row - view * count
        position, normal = load3(positions, n), load3(normals, n)
        unit = normal.normalized() * sign_to(eye, view, position, normal)
        for c in ti.static(range(3)):
            seen[row, c] = position[c]
            facing[row, c] = unit[c]
            to_eye[row, c] = eye[view, c] - eye[view, 3] * position[c]


@ti.kernel
def face_adjoint(
    views: ti.i32, count: ti.i32, start: ti.i32, positions: A2, normals: A2, eye: A2, grad_seen: A2, grad_facing: A2,
    grad_to_eye: A2, grad_positions: A2, grad_normals: A2,
):  # fmt: skip
    for k in range(count):
        n = start + k
        position, normal = load3(positions, n), load3(normals, n)
        length, unit = normal.norm(), normal.normalized()
        for view in range(views):
            row = view * count + k
            g = load3(grad_facing, row) * sign_to(eye, view, position, normal)
            to_normal = (g - unit * unit.dot(g)) / length
            for c in ti.static(range(3)):
                moved = grad_seen[row, c] - eye[view, 3] * grad_to_eye[row, c]
                grad_positions[n, c] = grad_positions[n, c] + moved
                grad_normals[n, c] = grad_normals[n, c] + to_normal[c]


@ti.kernel
def face_eye_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, views: ti.i32, count: ti.i32, start: ti.i32,
    positions: A2, grad_to_eye: A2, part: A1,
):  # fmt: skip
    """part [chunks * views * 4] = the gradient of eye."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for view in range(views):
            total = ti.Vector.zero(float, 4)
            for k in range(size):
                n = p * across + k * along
                if n < count:
                    g = load3(grad_to_eye, view * count + n)
                    for c in ti.static(range(3)):
                        total[c] += g[c]
                    total[3] -= g.dot(load3(positions, start + n))
            for c in ti.static(range(4)):
                part[(p * views + view) * 4 + c] = total[c]


@ti.kernel
def to_views(
    views: ti.i32, count: ti.i32, per_view: ti.i32, start: ti.i32, stride: ti.i32, channels: ti.i32, source: A2, out: A2
):
    """out[view * per_view + start + n] = source[view * stride + n]; a stride of 0 shows all views the same."""
    for row in range(views * count):
        view = row // count
        n = row - view * count
        for c in range(channels):
            out[view * per_view + start + n, c] = source[view * stride + n, c]


@ti.kernel
def to_views_adjoint(
    views: ti.i32, count: ti.i32, per_view: ti.i32, start: ti.i32, stride: ti.i32, channels: ti.i32, grad_out: A2,
    grad_source: A2,
):  # fmt: skip
    for n in range(count):
        for view in range(views):
            for c in range(channels):
                slot = view * stride + n
                grad_source[slot, c] = grad_source[slot, c] + grad_out[view * per_view + start + n, c]
