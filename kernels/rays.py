"""Camera rays through pixel centres, rays in object space, and where a ray is inside a box; with adjoints.

A camera is a table of 18 numbers: with (x, y) a pixel's centre in pixels, the first 3 x 3 matrix takes (x, y, 1) to the
ray's origin and the second to its direction, whose length is 1 / cosine to the viewing axis.
"""

import taichi as ti

from .accumulate import SPREAD, TASK, load3, outer

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FAR = 1e30


@ti.func
def box_interval(o, d, lower, upper):
    """Where o + t d, t >= 0, is inside the box: times (t0, t1), and the axes whose faces they lie on.

    The axis is -1 where t0 = 0 because the ray starts inside. A ray that misses has t0 > t1. On a face of axis a the
    time is (face - o[a]) / d[a], so it moves by -1 / d[a] with o[a] and by -t / d[a] with d[a].
    """
    times, axes = ti.Vector([0.0, FAR]), ti.Vector([-1, -1])
    for a in ti.static(range(3)):
        if d[a] != 0.0:
            one, other = (lower[a] - o[a]) / d[a], (upper[a] - o[a]) / d[a]
            near, far = ti.min(one, other), ti.max(one, other)
            if near > times[0]:
                times[0] = near
                axes[0] = a
            if far < times[1]:
                times[1] = far
                axes[1] = a
        elif o[a] < lower[a] or o[a] > upper[a]:
            times[1] = -1.0
    return times, axes


@ti.func
def write_ray(
    ray, view, x, y, table: ti.template(), origins: ti.template(), directions: ti.template(), cosines: ti.template()
):
    d = ti.Vector([0.0, 0.0, 0.0])
    for k in ti.static(range(3)):
        origins[ray, k] = table[view, 3 * k] * x + table[view, 3 * k + 1] * y + table[view, 3 * k + 2]
        d[k] = table[view, 9 + 3 * k] * x + table[view, 10 + 3 * k] * y + table[view, 11 + 3 * k]
    length = d.norm()
    for k in ti.static(range(3)):
        directions[ray, k] = d[k] / length
    cosines[ray, 0] = 1.0 / length


@ti.kernel
def image_rays(views: ti.i32, height: ti.i32, width: ti.i32, table: A2, origins: A2, directions: A2, cosines: A2):
    """Rays of all pixels of all views, in scan order."""
    for ticket in range(views * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        view = line // height
        row = line - view * height
        for column in range(width):
            write_ray(line * width + column, view, column + 0.5, row + 0.5, table, origins, directions, cosines)


@ti.kernel
def pixel_rays(count: ti.i32, place: A1, table: A2, origins: A2, directions: A2, cosines: A2):
    """Rays of the pixels place [n * 3]: view, row, column."""
    for ray in range(count):
        x, y = place[3 * ray + 2] + 0.5, place[3 * ray + 1] + 0.5
        write_ray(ray, place[3 * ray], x, y, table, origins, directions, cosines)


@ti.func
def ray_adjoint(
    ray, slot, x, y, directions: ti.template(), cosines: ti.template(), grad_origins: ti.template(),
    grad_directions: ti.template(), grad_cosines: ti.template(), part: ti.template(),
):  # fmt: skip
    """Adds to part[slot:slot + 18] through the normalisation u = d / |d| and the cosine 1 / |d|."""
    u, g = load3(directions, ray), load3(grad_directions, ray)
    cosine = cosines[ray, 0]
    to_d = (g - u * u.dot(g)) * cosine - u * (grad_cosines[ray, 0] * cosine * cosine)
    for k in ti.static(range(3)):
        to_o = grad_origins[ray, k]
        part[slot + 3 * k] = part[slot + 3 * k] + to_o * x
        part[slot + 3 * k + 1] = part[slot + 3 * k + 1] + to_o * y
        part[slot + 3 * k + 2] = part[slot + 3 * k + 2] + to_o
        part[slot + 9 + 3 * k] = part[slot + 9 + 3 * k] + to_d[k] * x
        part[slot + 10 + 3 * k] = part[slot + 10 + 3 * k] + to_d[k] * y
        part[slot + 11 + 3 * k] = part[slot + 11 + 3 * k] + to_d[k]


@ti.kernel
def image_rays_adjoint(
    chunks: ti.i32, views: ti.i32, height: ti.i32, width: ti.i32, directions: A2, cosines: A2,
    grad_origins: A2, grad_directions: A2, grad_cosines: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """part [chunks * views * 18] += gradient of the cameras' tables."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for line in range(p * views * height // chunks, (p + 1) * views * height // chunks):
            view = line // height
            row = line - view * height
            for column in range(width):
                ray_adjoint(
                    line * width + column, (p * views + view) * 18, column + 0.5, row + 0.5, directions, cosines,
                    grad_origins, grad_directions, grad_cosines, part,
                )  # fmt: skip


@ti.kernel
def pixel_rays_adjoint(
    chunks: ti.i32, views: ti.i32, count: ti.i32, place: A1, directions: A2, cosines: A2,
    grad_origins: A2, grad_directions: A2, grad_cosines: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """As `image_rays_adjoint` for the pixels place [n * 3]."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for ray in range(p * count // chunks, (p + 1) * count // chunks):
            x, y = place[3 * ray + 2] + 0.5, place[3 * ray + 1] + 0.5
            ray_adjoint(
                ray, (p * views + place[3 * ray]) * 18, x, y, directions, cosines, grad_origins, grad_directions,
                grad_cosines, part,
            )  # fmt: skip


@ti.kernel
def to_object(count: ti.i32, matrix: A2, origins: A2, directions: A2, out_origins: A2, out_directions: A2):
    """Rays through matrix [1, 16], row-major world to object; directions keep the length that the matrix gives them."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        for i in ti.static(range(3)):
            row = ti.Vector([matrix[0, 4 * i + k] for k in ti.static(range(3))])
            out_origins[ray, i] = row.dot(o) + matrix[0, 4 * i + 3]
            out_directions[ray, i] = row.dot(d)


@ti.kernel
def to_object_adjoint(
    count: ti.i32, matrix: A2, grad_out_origins: A2, grad_out_directions: A2, grad_origins: A2, grad_directions: A2
):
    for ray in range(count):
        to_o, to_d = load3(grad_out_origins, ray), load3(grad_out_directions, ray)
        for k in ti.static(range(3)):
            column = ti.Vector([matrix[0, 4 * i + k] for i in ti.static(range(3))])
            grad_origins[ray, k] = grad_origins[ray, k] + column.dot(to_o)
            grad_directions[ray, k] = grad_directions[ray, k] + column.dot(to_d)


@ti.kernel
def to_object_matrix_adjoint(
    chunks: ti.i32, count: ti.i32, origins: A2, directions: A2, grad_out_origins: A2, grad_out_directions: A2,
    part: A1, block: ti.template(),
):  # fmt: skip
    """part [chunks * 16] = gradient of the matrix."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        total = ti.Matrix.zero(float, 3, 4)
        for ray in range(p * count // chunks, (p + 1) * count // chunks):
            o, d = load3(origins, ray), load3(directions, ray)
            to_o, to_d = load3(grad_out_origins, ray), load3(grad_out_directions, ray)
            total += outer(to_o, o, 1.0) + outer(to_d, d, 0.0)
        for i, k in ti.static(ti.ndrange(3, 4)):
            part[p * 16 + 4 * i + k] = total[i, k]
        for k in ti.static(range(4)):
            part[p * 16 + 12 + k] = 0.0
