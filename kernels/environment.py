"""Radiance from far away by direction: bilinear look-ups in a latitude-longitude map, and the map behind a picture.

Texels are [H * W, 3]: row 0 is straight up (+Y), the centre column looks along -Z and columns grow to the right as seen
from inside (+X); texel centres lie at +0.5. Longitude wraps around, latitude is clamped at the poles. The map is turned
by an angle about +Y: at a positive one it moves to the left.
"""

import taichi as ti

from .accumulate import TASK, add3, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PI = 3.141592653589793
POLE = 1e-12  # squared sine of the angle to the poles' axis within which a look-up has no slope


@ti.func
def place(d, angle, height, width):
    """Where a direction lies among the texels: column and row as reals, 0 at the first texel's centre.

    Straight up and straight down have no longitude; they take that of the map's centre.
    """
    u = angle / (2.0 * PI) + 0.5
    across = ti.sqrt(d[0] * d[0] + d[2] * d[2])
    if across > 0.0:
        u += ti.atan2(d[0], -d[2]) / (2.0 * PI)
    return (u - ti.floor(u)) * width - 0.5, ti.atan2(across, d[1]) / PI * height - 0.5


@ti.func
def corners(d, angle, height, width):
    """Rows of the four texels around a direction (top left, top right, bottom left, bottom right); (x, y) between."""
    x, y = place(d, angle, height, width)
    left, top = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
    at = ti.Vector([x - ti.floor(x), y - ti.floor(y)])
    right = left + 1
    if left < 0:
        left += width
    if right >= width:
        right -= width
    # Whatever comes in, an index stays within the map.
    left, right = ti.min(ti.max(left, 0), width - 1), ti.min(ti.max(right, 0), width - 1)
    first = ti.min(ti.max(top, 0), height - 1) * width
    second = ti.min(ti.max(top + 1, 0), height - 1) * width
    return ti.Vector([first + left, first + right, second + left, second + right]), at


@ti.func
def weights(at):
    return ti.Vector([(1 - at[0]) * (1 - at[1]), at[0] * (1 - at[1]), (1 - at[0]) * at[1], at[0] * at[1]])


@ti.func
def mix(rows, at, texels: ti.template()):
    """Radiance [3] between the four texels of `corners`."""
    share = weights(at)
    total = ti.Vector([0.0, 0.0, 0.0])
    for k in ti.static(range(4)):
        total += share[k] * load3(texels, rows[k])
    return total


@ti.func
def look_up(d, angle, height, width, texels: ti.template()):
    """Radiance [3] of the map in a direction of any length."""
    rows, at = corners(d, angle, height, width)
    return mix(rows, at, texels)


@ti.func
def slopes(d, rows, at, height, width, texels: ti.template(), g):
    """Gradient of a direction [3] and of the angle, for the gradient g of what `mix` gives there.

    With longitude p = atan2(x, -z), angle from the top t = atan2(r, y), r^2 = x^2 + z^2: dp = (-z dx + x dz) / r^2 and
    dt = (y (x dx + z dz) / r - r dy) / |d|^2. The first grows without bound towards the poles, hence `POLE`.
    """
    t00, t10 = g.dot(load3(texels, rows[0])), g.dot(load3(texels, rows[1]))
    t01, t11 = g.dot(load3(texels, rows[2])), g.dot(load3(texels, rows[3]))
    to_longitude = ((1.0 - at[1]) * (t10 - t00) + at[1] * (t11 - t01)) * width / (2.0 * PI)
    to_latitude = ((1.0 - at[0]) * (t01 - t00) + at[0] * (t11 - t10)) * height / PI
    out = ti.Vector([0.0, 0.0, 0.0])
    square, whole = d[0] * d[0] + d[2] * d[2], d.dot(d)
    if square > POLE * whole:
        across = ti.sqrt(square)
        to_across = to_latitude * d[1] / (across * whole)
        out[0] = to_across * d[0] - to_longitude * d[2] / square
        out[1] = -to_latitude * across / whole
        out[2] = to_across * d[2] + to_longitude * d[0] / square
    return out, to_longitude


@ti.func
def look_up_adjoint(d, angle, height, width, texels: ti.template(), g):
    """Gradient of a direction [3] and of the angle, for the gradient g of its radiance."""
    rows, at = corners(d, angle, height, width)
    to_d, to_angle = slopes(d, rows, at, height, width, texels, g)
    return to_d, to_angle


@ti.kernel
def radiance(n: ti.i32, height: ti.i32, width: ti.i32, texels: A2, angle: A2, directions: A2, out: A2):
    """out [n, 3] = the map in the directions [n, 3] (world, any length), turned by angle [1, 1]."""
    for ray in range(n):
        total = look_up(load3(directions, ray), angle[0, 0], height, width, texels)
        for c in ti.static(range(3)):
            out[ray, c] = total[c]


@ti.func
def scatter(d, angle, height, width, g, part: ti.template(), start, atomic: ti.template()):
    """part[3 * (start + texel) ...] += the gradient g of one look-up."""
    rows, at = corners(d, angle, height, width)
    share = weights(at)
    for k in ti.static(range(4)):
        add3(part, start + rows[k], share[k] * g, atomic)


@ti.kernel
def to_texels(
    chunks: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, angle: A2, directions: A2, grad_out: A2, part: A1,
    block: ti.template(),
):  # fmt: skip
    """part [chunks * H * W * 3] = gradient of the texels, a copy for each chunk of rays."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        texels = height * width
        for k in range(3 * p * texels, 3 * (p + 1) * texels):
            part[k] = 0.0
        for ray in range(p * n // chunks, (p + 1) * n // chunks):
            g = load3(grad_out, ray)
            scatter(load3(directions, ray), angle[0, 0], height, width, g, part, p * texels, False)


@ti.kernel
def to_texels_atomic(n: ti.i32, height: ti.i32, width: ti.i32, angle: A2, directions: A2, grad_out: A2, part: A1):
    """part [H * W * 3] += gradient of the texels, by atomics: for a GPU."""
    for ray in range(n):
        scatter(load3(directions, ray), angle[0, 0], height, width, load3(grad_out, ray), part, 0, True)


@ti.kernel
def to_directions(
    chunks: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, texels: A2, angle: A2, directions: A2, grad_out: A2,
    grad_directions: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """grad_directions [n, 3] += the slope of the look-ups; part [chunks] = gradient of the angle."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        total = 0.0
        for ray in range(p * n // chunks, (p + 1) * n // chunks):
            d, g = load3(directions, ray), load3(grad_out, ray)
            to_direction, to_angle = look_up_adjoint(d, angle[0, 0], height, width, texels, g)
            total += to_angle
            for c in ti.static(range(3)):
                grad_directions[ray, c] = grad_directions[ray, c] + to_direction[c]
        part[p] = total


@ti.kernel
def behind(n: ti.i32, rgb: A2, covered: A2, far: A2, out: A2, clear: ti.template()):
    """out [n, 3] = rgb + (1 - covered) far; with `clear`, covered [n, 1] is the part that is not."""
    for ray in range(n):
        through = covered[ray, 0]
        if ti.static(not clear):
            through = 1.0 - through
        for c in ti.static(range(3)):
            out[ray, c] = rgb[ray, c] + through * far[ray, c]


@ti.kernel
def behind_adjoint(
    n: ti.i32, covered: A2, far: A2, grad_out: A2, grad_rgb: A2, grad_covered: A2, grad_far: A2, clear: ti.template()
):
    for ray in range(n):
        g, through = load3(grad_out, ray), covered[ray, 0]
        to_covered = g.dot(load3(far, ray))
        if ti.static(not clear):
            through = 1.0 - through
            to_covered = -to_covered
        grad_covered[ray, 0] = grad_covered[ray, 0] + to_covered
        for c in ti.static(range(3)):
            grad_rgb[ray, c] = grad_rgb[ray, c] + g[c]
            grad_far[ray, c] = grad_far[ray, c] + g[c] * through
