"""3D Gaussians to splats of an image: EWA projection with its first-order covariance (Zwicker et al. 2001).

table [views, 20]: a matrix [4, 4], row-major, that takes a node's object space to (column w, row w, w, depth), and the
eye [4]: the vector from p to the camera is eye[:3] - eye[3] p, object space. It holds camera and node alike, so that
the Jacobian of column and row by a point of object space is (row of the matrix - column * third row) / w.

splats [items, 6]: column and row of the mean, the conic a, b, c (inverse of the covariance in pixels^2: a dx^2 +
2 b dx dy + c dy^2 is the squared number of standard deviations) and the logarithm of the opacity. Those of a node's
Gaussians in view v are the rows v * per_view + start and on.
"""

import taichi as ti

from ..accumulate import load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

GUARD = 0.15  # how far beyond the image, in parts of it, the Jacobian is taken at the mean itself
LARGEST = 1e36  # of a variance in pixels^2; beyond, nothing is drawn


@ti.func
def rotation_of(rotations: ti.template(), n):
    """Rotation matrix of a quaternion (w first) that need not have length 1."""
    q = ti.Vector([rotations[n, k] for k in ti.static(range(4))])
    w, x, y, z = q.normalized()
    return ti.Matrix(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )


@ti.func
def rotation_adjoint(rotations: ti.template(), n, g):
    """Gradient of the quaternion from that of its matrix, through the normalisation."""
    q = ti.Vector([rotations[n, k] for k in ti.static(range(4))])
    unit = q.normalized()
    w, x, y, z = unit
    d0, d1, d2 = g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]
    s0, s1, s2 = g[2, 1] + g[1, 2], g[0, 2] + g[2, 0], g[1, 0] + g[0, 1]
    raw = 2.0 * ti.Vector(
        [
            x * d0 + y * d1 + z * d2,
            w * d0 + y * s2 + z * s1 - 2.0 * x * (g[1, 1] + g[2, 2]),
            w * d1 + x * s2 + z * s0 - 2.0 * y * (g[0, 0] + g[2, 2]),
            w * d2 + x * s1 + y * s0 - 2.0 * z * (g[0, 0] + g[1, 1]),
        ]
    )
    return (raw - unit * unit.dot(raw)) / q.norm()


@ti.func
def matrix_row(table: ti.template(), view, r):
    return ti.Vector([table[view, 4 * r + k] for k in ti.static(range(3))])


@ti.func
def projected(table: ti.template(), view, p):
    """(column w, row w, w, depth) of a point."""
    q = ti.Vector([0.0, 0.0, 0.0, 0.0])
    for r in ti.static(range(4)):
        q[r] = matrix_row(table, view, r).dot(p) + table[view, 4 * r + 3]
    return q


@ti.func
def jacobian(table: ti.template(), view, q, width, height):
    """Rows of the Jacobian of column and row, and where in the image it is taken: no farther out than GUARD."""
    column = ti.min(ti.max(q[0] / q[2], -GUARD * width), (1.0 + GUARD) * width)
    row = ti.min(ti.max(q[1] / q[2], -GUARD * height), (1.0 + GUARD) * height)
    third = matrix_row(table, view, 2)
    to_column = (matrix_row(table, view, 0) - column * third) / q[2]
    to_row = (matrix_row(table, view, 1) - row * third) / q[2]
    return to_column, to_row, column, row


@ti.func
def axes_on_screen(to_column, to_row, turned, scales):
    """Where the three axes, a standard deviation long, go: their columns, and their rows."""
    return (turned.transpose() @ to_column) * scales, (turned.transpose() @ to_row) * scales


@ti.func
def scales_of(log_scales: ti.template(), n):
    return ti.exp(ti.min(load3(log_scales, n), 40.0))  # so that no product overflows before it is looked at


@ti.func
def conic_of(u, v, dilation):
    """(a, b, c), the variances along columns and rows, and the share of the determinant that is not the dilation's.

    u and v are the axes on the screen. All is computed in parts of the trace: no square overflows.
    """
    total = u.norm_sqr() + v.norm_sqr() + 2.0 * dilation
    over = 1.0 / ti.sqrt(total)
    m, n, part = u * over, v * over, dilation / total
    bare = m.cross(n).norm_sqr()
    whole = bare + part * (m.norm_sqr() + n.norm_sqr()) + part * part
    xx, yy, xy = m.norm_sqr() + part, n.norm_sqr() + part, m.dot(n)
    return ti.Vector([yy, -xy, xx]) / (whole * total), xx * total, yy * total, bare / whole


@ti.func
def log_sigmoid(x):
    return ti.min(x, 0.0) - ti.log(1.0 + ti.exp(-ti.abs(x)))


@ti.func
def limit_of(opacity_log, skip_log, sigmas_squared):
    """Where a splat ends: the squared number of standard deviations at which it falls below what is skipped."""
    return ti.min(2.0 * (opacity_log - skip_log), sigmas_squared)


@ti.kernel
def project(
    count: ti.i32, start: ti.i32, per_view: ti.i32, views: ti.i32, width: ti.i32, height: ti.i32, limits: A2,
    means: A2, log_scales: A2, rotations: A2, opacity_logits: A2, table: A2, dilation: float, skip_log: float,
    sigmas_squared: float, splats: A2, depth: A2, box: A1, antialiased: ti.template(),
):  # fmt: skip
    """limits [views, 3]: perspective, near, far. box [items * 4]: first and last column, first and last row.

    An empty box (1, 0, 1, 0) marks what is not drawn: outside near and far or the image, or too faint.
    """
    for n in range(count):
        p, turned, scales = load3(means, n), rotation_of(rotations, n), scales_of(log_scales, n)
        opacity = log_sigmoid(opacity_logits[n, 0])
        everything = p.sum() + load3(log_scales, n).sum() + turned.sum() + opacity_logits[n, 0]
        for view in range(views):
            item = view * per_view + start + n
            q = projected(table, view, p)
            for k in ti.static(range(6)):
                splats[item, k] = 0.0
            depth[item, 0] = q[3]
            left, right, top, bottom = 1, 0, 1, 0
            if q[3] > limits[view, 1] and q[3] < limits[view, 2] and q[2] > 0.0:
                to_column, to_row, _, _ = jacobian(table, view, q, width, height)
                u, v = axes_on_screen(to_column, to_row, turned, scales)
                if u.norm_sqr() + v.norm_sqr() < LARGEST:
                    conic, xx, yy, share = conic_of(u, v, dilation)
                    seen = opacity
                    if ti.static(antialiased):
                        seen = -LARGEST
                        if share > 0.0:
                            seen = opacity + 0.5 * ti.log(share)
                    limit = limit_of(seen, skip_log, sigmas_squared)
                    if limit > 0.0:
                        column, row = q[0] / q[2], q[1] / q[2]
                        wide, high = ti.sqrt(limit * xx), ti.sqrt(limit * yy)
                        left = ti.cast(ti.ceil(ti.max(column - wide - 0.5, 0.0)), ti.i32)
                        right = ti.cast(ti.floor(ti.min(column + wide - 0.5, width - 1.0)), ti.i32)
                        top = ti.cast(ti.ceil(ti.max(row - high - 0.5, 0.0)), ti.i32)
                        bottom = ti.cast(ti.floor(ti.min(row + high - 0.5, height - 1.0)), ti.i32)
                        if column - wide > width or column + wide < 0.0 or row - high > height or row + high < 0.0:
                            right = left - 1  # also where the cast would not fit
                        splats[item, 0] = column
                        splats[item, 1] = row
                        for k in ti.static(range(3)):
                            splats[item, 2 + k] = conic[k]
                        splats[item, 5] = seen
            if ti.math.isnan(everything) != 0:  # is to be seen: in the first pixel
                left, right, top, bottom = 0, 0, 0, 0
                for k, value in ti.static(enumerate((0.5, 0.5, 1.0, 0.0, 1.0))):
                    splats[item, k] = value
                splats[item, 5] = everything
            inside = left <= right and top <= bottom
            box[4 * item] = left if inside else 1
            box[4 * item + 1] = right if inside else 0
            box[4 * item + 2] = top if inside else 1
            box[4 * item + 3] = bottom if inside else 0
