"""The interaction buffer: one entry per visible surface point, as Taichi fields, so that Taichi can differentiate.

Every renderer fills it, shades it and takes the colours away; its content does not outlive that.
"""

import taichi as ti

from ..accumulate import TASK

SMALLEST = 1 << 16

A2 = ti.types.ndarray(ndim=2)

VECTORS = ("position", "normal", "view", "albedo", "specular", "light_vector", "light_value", "color")
PLANES = ("uv", "uv_dx", "uv_dy")
SCALARS = ("roughness", "metallic", "shininess")


@ti.data_oriented
class InteractionBuffer:
    """`capacity` entries; kernels take the buffer as `ti.template()` and the number `n` of entries in use.

    position: [3] world. normal: [3] world, shading normal on the viewer's side, of any length. view: [3] from the point
    to the camera, of any length. albedo, specular: [3] linear; roughness, metallic, shininess: numbers. uv: [2], origin
    bottom left; uv_dx, uv_dy: [2], change of uv per pixel to the right and per pixel down. light_vector: [3] from the
    point to the light, of any length unless the light is a point. light_value: [3] radiance, irradiance or intensity.
    color: [3] radiance towards the viewer. Each has `.grad`. material: index into the scene's materials, no gradient.
    """

    def __init__(self, dtype, capacity: int) -> None:
        self.capacity = capacity
        for name in VECTORS:
            setattr(self, name, ti.Vector.field(3, dtype, capacity, needs_grad=True))
        for name in PLANES:
            setattr(self, name, ti.Vector.field(2, dtype, capacity, needs_grad=True))
        for name in SCALARS:
            setattr(self, name, ti.field(dtype, capacity, needs_grad=True))
        self.material = ti.field(ti.i32, capacity)
        self.filled_by = None

    def clear_grads(self, n: int) -> None:
        """Zero the gradient of every column of the first n entries."""
        _clear_grads(self, n)

    def clear_color(self, n: int) -> None:
        """Zero the colour of the first n entries."""
        _clear_color(self, n)


@ti.kernel
def _clear_grads(buffer: ti.template(), n: ti.i32):
    for i in range(n):
        zero = ti.Vector([0.0, 0.0, 0.0])
        buffer.position.grad[i] = zero
        buffer.normal.grad[i] = zero
        buffer.view.grad[i] = zero
        buffer.albedo.grad[i] = zero
        buffer.specular.grad[i] = zero
        buffer.light_vector.grad[i] = zero
        buffer.light_value.grad[i] = zero
        buffer.color.grad[i] = zero
        plane = ti.Vector([0.0, 0.0])
        buffer.uv.grad[i] = plane
        buffer.uv_dx.grad[i] = plane
        buffer.uv_dy.grad[i] = plane
        buffer.roughness.grad[i] = 0.0
        buffer.metallic.grad[i] = 0.0
        buffer.shininess.grad[i] = 0.0


@ti.kernel
def _clear_color(buffer: ti.template(), n: ti.i32):
    for i in range(n):
        buffer.color[i] = ti.Vector([0.0, 0.0, 0.0])


_held: dict = {}


def interaction_buffer(dtype, n: int, generation: int) -> InteractionBuffer:
    """The process's buffer, grown by doubling until it holds n entries.

    A buffer of an older `generation` (Taichi was started anew since) or of another dtype is dropped. Kernels compile
    anew when this returns another buffer than before.
    """
    key = (generation, dtype)
    buffer = _held.get(key)
    if buffer is None or buffer.capacity < n:
        capacity = SMALLEST if buffer is None else buffer.capacity
        while capacity < n:
            capacity *= 2
        _held.clear()
        buffer = _held[key] = InteractionBuffer(dtype, capacity)
    return buffer


def chunk_block() -> int:
    """block_dim of a loop over chunks: on a CPU 1, so that every thread takes one; on a GPU as usual."""
    return 1 if ti.lang.impl.current_cfg().arch == ti.cpu else 64


# Material values that are the same everywhere.


@ti.kernel
def _fill(column: ti.template(), buffer: ti.template(), channels: ti.template(), n: ti.i32, index: ti.i32, value: A2):
    for i in range(n):
        if buffer.material[i] == index:
            for c in ti.static(range(channels)):
                if ti.static(channels == 1):
                    column[i] = value[0, c]
                else:
                    column[i][c] = value[0, c]


@ti.kernel
def _fill_adjoint(
    column: ti.template(),
    buffer: ti.template(),
    channels: ti.template(),
    block: ti.template(),
    n: ti.i32,
    index: ti.i32,
    part: A2,
):
    rows = part.shape[0]
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(rows * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        size = (n + rows - 1) // rows
        total = ti.Vector.zero(float, channels)
        for i in range(p * size, ti.min(n, (p + 1) * size)):
            if buffer.material[i] == index:
                if ti.static(channels == 1):
                    total[0] += column.grad[i]
                else:
                    total += column.grad[i]
        for c in ti.static(range(channels)):
            part[p, c] = total[c]


@ti.kernel
def _add_rows(part: A2, columns: ti.i32, grad: A2):
    for c in range(columns):
        total = part[0, c]
        for p in range(1, part.shape[0]):
            total += part[p, c]
        grad[0, c] = grad[0, c] + total


def fill_constant(buffer: InteractionBuffer, column: str, n: int, index: int, value) -> None:
    """Write value [1, C] into a column of those of the first n entries whose material is `index`."""
    _fill(getattr(buffer, column), buffer, value.shape[1], n, index, value)


def fill_constant_adjoint(buffer: InteractionBuffer, column: str, n: int, index: int, value_grad, part) -> None:
    """Add the column's gradient, summed over the entries of that material, to value_grad [1, C].

    part: scratch [P, at least C]; P chunks are summed in parallel (the threads of a CPU, a thousand on a GPU), then in
    order: equal bits every time.
    """
    channels = value_grad.shape[1]
    _fill_adjoint(getattr(buffer, column), buffer, channels, chunk_block(), n, index, part)
    _add_rows(part, channels, value_grad)
