"""What meshes and splats bring to the walk, column beside column; with adjoints."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def columns(rows: ti.i32, color: A2, depth: A2, out: A2, covering: ti.template()):
    """out [n, 4] = color [n, 3] and depth [n, 1]; with `covering` [n, 5], a 1 between them."""
    for row in range(rows):
        for c in ti.static(range(3)):
            out[row, c] = color[row, c]
        if ti.static(covering):
            out[row, 3] = 1.0
            out[row, 4] = depth[row, 0]
        else:
            out[row, 3] = depth[row, 0]


@ti.kernel
def columns_adjoint(rows: ti.i32, grad_out: A2, grad_color: A2, grad_depth: A2, covering: ti.template()):
    for row in range(rows):
        for c in ti.static(range(3)):
            grad_color[row, c] = grad_color[row, c] + grad_out[row, c]
        grad_depth[row, 0] = grad_depth[row, 0] + grad_out[row, 4 if ti.static(covering) else 3]
