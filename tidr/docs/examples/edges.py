"""An edge treatment of your own: the pixels stay as they are, and along outlines against the background the gradient is
that of OpenDR (Loper and Black 2014), as by the built-in "opendr", in short: the picture's own slope moves with the
triangle that is seen there."""

import taichi as ti

import tidr
from tidr.array import Array
from tidr.fitting.tape import Operation, run
from tidr.kernels.raster.find import NOTHING

A1, A2 = ti.types.ndarray(ndim=1), ti.types.ndarray(ndim=2)


@ti.kernel
def pull(width: int, height: int, face: A1, triangles: A2, screen: A2, image: A2, grad: A2, grad_screen: A2):
    for pixel in face:
        place, view = ti.Vector([pixel % width, pixel // width % height]), pixel // (width * height)
        for axis in ti.static(range(2)):
            if 0 < place[axis] < ti.static((width, height))[axis] - 1:
                step = 1 if axis == 0 else width
                behind, here, ahead = face[pixel - step], face[pixel], face[pixel + step]
                seen, slope = ti.select(here == NOTHING, ti.min(behind, ahead), here), 0.0  # or the neighbour's
                for c in range(image.shape[1]):
                    slope += 0.5 * (image[pixel + step, c] - image[pixel - step, c]) * grad[pixel, c]
                if ti.max(behind, here, ahead) == NOTHING and seen != NOTHING:
                    first = view * (screen.shape[0] // (face.shape[0] // (width * height)))
                    rows = [first + triangles[seen, k] for k in ti.static(range(3))]
                    ends = [ti.Vector([screen[v, 0], screen[v, 1]]) / screen[v, 2] for v in rows]
                    area = (ends[1] - ends[0]).cross(ends[2] - ends[0])
                    for k in ti.static(range(3)):
                        share = (ends[(k + 1) % 3] - place - 0.5).cross(ends[(k + 2) % 3] - place - 0.5) / area * slope
                        grad_screen[rows[k], axis] -= share / screen[rows[k], 2]
                        grad_screen[rows[k], 2] += share * ends[k][axis] / screen[rows[k], 2]


@tidr.register_edges("slope")
class Slope:
    def __init__(self, found) -> None:
        self.face, self.entries = found.face.ndarray, found.entries

    def apply(self, image: Array) -> Array:
        out, views, screen = Array(image.shape), self.entries.views, self.entries.screen
        arrays = (self.face, self.entries.world.pack.triangles, screen.value, image.value, out.grad, screen.grad)

        def backward() -> None:
            image.set_grad(image.grad_numpy() + out.grad_numpy())
            pull(views.width, views.height, *arrays)

        run(Operation(lambda: out.value.copy_from(image.value), backward, [image, screen], [out], "slope"))
        return out
