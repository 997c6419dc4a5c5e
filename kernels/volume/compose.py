"""From marches to pixels: tint, layers in front of each other, background, expected distance; with adjoints.

Layers are stacked: m layers of n rays are values [m * n, C] and alphas [m * n, 1]. Along a ray the nearer box comes
first: out = sum_j T_j value_j with T_j the product of 1 - alpha over the layers before j.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import FAR, box_interval

I2 = ti.types.ndarray(dtype=ti.i32, ndim=2)
A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FAINT = 1e-6  # alpha below which a ray has met nothing


@ti.kernel
def tint(count: ti.i32, alpha: A2, color: A2, rgb: A2):
    """rgb [n, 3] = alpha [n, 1] times color [1, 3]."""
    for ray in range(count):
        for c in ti.static(range(3)):
            rgb[ray, c] = alpha[ray, 0] * color[0, c]


@ti.kernel
def tint_adjoint(count: ti.i32, color: A2, grad_rgb: A2, grad_alpha: A2):
    for ray in range(count):
        grad_alpha[ray, 0] = grad_alpha[ray, 0] + load3(color, 0).dot(load3(grad_rgb, ray))


@ti.kernel
def tint_color_adjoint(chunks: ti.i32, count: ti.i32, alpha: A2, grad_rgb: A2, part: A1, block: ti.template()):
    """part [chunks * 3]: gradient of the color."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        total = ti.Vector([0.0, 0.0, 0.0])
        for ray in range(p * count // chunks, (p + 1) * count // chunks):
            total += alpha[ray, 0] * load3(grad_rgb, ray)
        for c in ti.static(range(3)):
            part[3 * p + c] = total[c]


@ti.kernel
def box_times(count: ti.i32, column: ti.i32, box: A2, origins: A2, directions: A2, near: A2, far: A2):
    """Where rays enter and leave the box [2, 3], into near and far [n, m]; FAR twice where they miss it."""
    for ray in range(count):
        times, _ = box_interval(load3(origins, ray), load3(directions, ray), load3(box, 0), load3(box, 1))
        missed = times[1] <= times[0]
        near[ray, column] = FAR if missed else times[0]
        far[ray, column] = FAR if missed else times[1]


@ti.kernel
def front_to_back(count: ti.i32, layers: ti.i32, near: A2, far: A2, order: I2) -> ti.i32:
    """order [n, m]: the layers by growing `near`. Returns how many times two boxes overlap along a ray."""
    overlaps = 0
    for ray in range(count):
        found = 0  # added once: software Vulkan loses what stands beside an atomic in an inner loop
        for j in range(layers):
            rank = 0
            for i in range(layers):
                before = near[ray, i] < near[ray, j] or (near[ray, i] == near[ray, j] and i < j)
                if before:
                    rank += 1
                    if far[ray, i] - near[ray, j] > 1e-4 * far[ray, i] and near[ray, j] < FAR:
                        found += 1
            order[ray, rank] = j
        overlaps += found
    return overlaps


@ti.kernel
def over(count: ti.i32, layers: ti.i32, order: I2, values: A2, alphas: A2, out: A2, alpha: A2, channels: ti.template()):
    """out [n, C] and alpha [n, 1] of stacked layers."""
    for ray in range(count):
        total, through = ti.Vector.zero(float, channels), 1.0
        for rank in range(layers):
            row = order[ray, rank] * count + ray
            for c in ti.static(range(channels)):
                total[c] += through * values[row, c]
            through *= 1.0 - alphas[row, 0]
        for c in ti.static(range(channels)):
            out[ray, c] = total[c]
        alpha[ray, 0] = 1.0 - through


@ti.kernel
def over_adjoint(
    count: ti.i32, layers: ti.i32, order: I2, values: A2, alphas: A2, grad_out: A2, grad_alpha: A2,
    grad_values: A2, grad_alphas: A2, channels: ti.template(),
):  # fmt: skip
    """For each layer from the back: `behind` is the gradient of what lies behind it, seen without it."""
    for ray in range(count):
        behind = -grad_alpha[ray, 0]
        for back in range(layers):
            rank = layers - 1 - back
            row = order[ray, rank] * count + ray
            through = 1.0
            for before in range(rank):
                through *= 1.0 - alphas[order[ray, before] * count + ray, 0]
            worth = 0.0
            for c in ti.static(range(channels)):
                worth += grad_out[ray, c] * values[row, c]
                grad_values[row, c] = grad_values[row, c] + through * grad_out[ray, c]
            grad_alphas[row, 0] = grad_alphas[row, 0] - through * behind
            behind = worth + (1.0 - alphas[row, 0]) * behind


@ti.kernel
def stack(count: ti.i32, start: ti.i32, rgb: A2, alpha: A2, distance: A2, values: A2, alphas: A2):
    """One layer into rows start .. start + count: values [m * n, 4] are r, g, b and distance."""
    for ray in range(count):
        for c in ti.static(range(3)):
            values[start + ray, c] = rgb[ray, c]
        values[start + ray, 3] = distance[ray, 0]
        alphas[start + ray, 0] = alpha[ray, 0]


@ti.kernel
def stack_adjoint(
    count: ti.i32, start: ti.i32, grad_values: A2, grad_alphas: A2, grad_rgb: A2, grad_alpha: A2, grad_distance: A2
):
    for ray in range(count):
        for c in ti.static(range(3)):
            grad_rgb[ray, c] = grad_rgb[ray, c] + grad_values[start + ray, c]
        grad_distance[ray, 0] = grad_distance[ray, 0] + grad_values[start + ray, 3]
        grad_alpha[ray, 0] = grad_alpha[ray, 0] + grad_alphas[start + ray, 0]


@ti.kernel
def unstack(count: ti.i32, values: A2, rgb: A2, distance: A2):
    """Columns of values [n, 4]."""
    for ray in range(count):
        for c in ti.static(range(3)):
            rgb[ray, c] = values[ray, c]
        distance[ray, 0] = values[ray, 3]


@ti.kernel
def unstack_adjoint(count: ti.i32, grad_rgb: A2, grad_distance: A2, grad_values: A2):
    for ray in range(count):
        for c in ti.static(range(3)):
            grad_values[ray, c] = grad_values[ray, c] + grad_rgb[ray, c]
        grad_values[ray, 3] = grad_values[ray, 3] + grad_distance[ray, 0]


@ti.kernel
def behind(count: ti.i32, rgb: A2, alpha: A2, background: A2, out: A2):
    """out [n, 3] = rgb + (1 - alpha) background [1, 3]."""
    for ray in range(count):
        for c in ti.static(range(3)):
            out[ray, c] = rgb[ray, c] + (1.0 - alpha[ray, 0]) * background[0, c]


@ti.kernel
def behind_adjoint(count: ti.i32, background: A2, grad_out: A2, grad_rgb: A2, grad_alpha: A2):
    for ray in range(count):
        g = load3(grad_out, ray)
        for c in ti.static(range(3)):
            grad_rgb[ray, c] = grad_rgb[ray, c] + g[c]
        grad_alpha[ray, 0] = grad_alpha[ray, 0] - g.dot(load3(background, 0))


@ti.kernel
def expected(count: ti.i32, distance: A2, alpha: A2, cosines: A2, out: A2, along_axis: ti.template()):
    """out [n, 1] = distance / alpha, times the cosine if along the viewing axis; 0 where alpha is below FAINT."""
    for ray in range(count):
        found = 0.0
        if alpha[ray, 0] > FAINT:
            found = distance[ray, 0] / alpha[ray, 0]
        if ti.static(along_axis):
            found *= cosines[ray, 0]
        out[ray, 0] = found


@ti.kernel
def expected_adjoint(
    count: ti.i32, distance: A2, alpha: A2, cosines: A2, grad_out: A2, grad_distance: A2, grad_alpha: A2,
    grad_cosines: A2, along_axis: ti.template(),
):  # fmt: skip
    for ray in range(count):
        if alpha[ray, 0] > FAINT:
            mean, g = distance[ray, 0] / alpha[ray, 0], grad_out[ray, 0]
            if ti.static(along_axis):
                grad_cosines[ray, 0] = grad_cosines[ray, 0] + g * mean
                g *= cosines[ray, 0]
            grad_distance[ray, 0] = grad_distance[ray, 0] + g / alpha[ray, 0]
            grad_alpha[ray, 0] = grad_alpha[ray, 0] - g * mean / alpha[ray, 0]


@ti.kernel
def unit(count: ti.i32, vectors: A2, out: A2):
    """Rows [n, 3] divided by their length; 0 stays 0."""
    for ray in range(count):
        v = load3(vectors, ray)
        length = v.norm()
        for c in ti.static(range(3)):
            out[ray, c] = v[c] / length if length > 0.0 else 0.0


@ti.kernel
def unit_adjoint(count: ti.i32, vectors: A2, out: A2, grad_out: A2, grad_vectors: A2):
    for ray in range(count):
        length = load3(vectors, ray).norm()
        if length > 0.0:
            u, g = load3(out, ray), load3(grad_out, ray)
            for c in ti.static(range(3)):
                grad_vectors[ray, c] = grad_vectors[ray, c] + (g[c] - u[c] * u.dot(g)) / length
