"""A renderer of your own: every vertex is a soft white dot, and dots add up. tidr brings vertices to the screen, with
gradients to shapes, transforms and cameras; the dots are one kernel, forwards and backwards."""

from dataclasses import dataclass

import taichi as ti

import tidr
from tidr.fitting.tape import Operation, run
from tidr.renderers import entries, geometry, views

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def draw(size: ti.math.ivec3, sigma: float, dots: A2, image: A2, grad: A2, grad_dots: A2, back: ti.template()):
    for d in range(dots.shape[0]):
        at, push = ti.Vector([dots[d, 0], dots[d, 1]]) / dots[d, 2], ti.Vector([0.0, 0.0])
        view, reach = d // (dots.shape[0] // size[0]), ti.ceil(6.0 * sigma, ti.i32)
        for row, column in ti.ndrange((-reach, reach + 1), (-reach, reach + 1)):
            x, y = ti.floor(at[0], ti.i32) + column, ti.floor(at[1], ti.i32) + row
            if dots[d, 2] > 0.0 and 0 <= x < size[2] and 0 <= y < size[1]:
                away, pixel = at - ti.Vector([x + 0.5, y + 0.5]), (view * size[1] + y) * size[2] + x
                value = ti.exp(-0.5 * away.norm_sqr() / sigma**2)
                for c in range(image.shape[1]):
                    if ti.static(back):
                        push -= grad[pixel, c] * value * away / sigma**2
                    else:
                        image[pixel, c] += value
        if ti.static(back):
            grad_dots[d, 0] += push[0] / dots[d, 2]
            grad_dots[d, 1] += push[1] / dots[d, 2]
            grad_dots[d, 2] -= push.dot(at) / dots[d, 2]


@tidr.register_renderer("dots")
@dataclass(frozen=True, kw_only=True)
class DotRenderer:
    sigma: float = 1.0  # pixels

    def render(self, scene, cameras, width, height) -> tidr.Image:
        size, world = (len(cameras), height, width), geometry.world(scene, geometry.pack(scene))
        dots = entries.project_points(world.positions, views.Views(cameras, width, height))

        def made(channels: int) -> tidr.Array:
            out = tidr.Array((*size, channels))
            arrays = (ti.math.ivec3(*size), self.sigma, dots.value, out.value, out.grad, dots.grad)
            out.value.fill(0.0)
            run(Operation(lambda: draw(*arrays, False), lambda: draw(*arrays, True), [dots], [out], "dots"))
            return out

        return tidr.Image({"rgb": lambda: made(3), "alpha": lambda: made(1)})
