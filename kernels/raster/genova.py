"""Which triangle a background pixel next to one that is covered continues, for gradients alone (Genova et al. 2018)."""

import taichi as ti

from .find import NOTHING
from .gather import corner, corner_rows, planes

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def extrapolation(triangles: ti.template(), screen: ti.template(), f, base, x, y):
    """Least barycentric of (x, y) in triangle f, below 0 outside it, and the sign of their sum before division."""
    ids = corner_rows(triangles, f, base)
    a0, a1, a2 = planes(corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y))
    total = a0[2] + a1[2] + a2[2]
    least, sign = -1e30 * ti.abs(x), 0
    if total != 0.0:
        least, sign = ti.min(a0[2], a1[2], a2[2]) / total, 1
        if total < 0.0:
            least, sign = ti.max(a0[2], a1[2], a2[2]) / total, -1
    return least, sign


@ti.kernel
def border(
    pixels: ti.i32, height: ti.i32, width: ti.i32, vertices: ti.i32, limit: float, triangles: A2, screen: A2, face: A1,
    out: A1,
):  # fmt: skip
    """out [pixels] = face, and where that is NOTHING the triangle of the four neighbours' that reaches nearest.

    It is the one with the highest least barycentric, which must not lie below -limit.
    """
    for p in range(pixels):
        out[p] = face[p]
        if face[p] == NOTHING:
            row, column = p // width % height, p % width
            base, best = p // (width * height) * vertices, -limit
            for dr, dc in ti.static(((-1, 0), (0, -1), (0, 1), (1, 0))):
                if row + dr >= 0 and row + dr < height and column + dc >= 0 and column + dc < width:
                    f = face[p + dr * width + dc]
                    if f != NOTHING:
                        x, y = column + 0.5, row + 0.5
                        least, sign = extrapolation(triangles, screen, f, base, x, y)
                        # Beyond the horizon of the triangle's plane the sum has changed its sign.
                        _, own = extrapolation(triangles, screen, f, base, x + dc, y + dr)
                        if sign == own and (least > best or (least == best and f < out[p])):
                            best, out[p] = least, f


@ti.kernel
def covered(pixels: ti.i32, face: A1, entry: A1, out: A1):
    """out [pixels] = entry where the pixel is covered, else -1."""
    for p in range(pixels):
        out[p] = entry[p]
        if face[p] == NOTHING:
            out[p] = -1
