"""A loss of your own: the mean of log(1 + d^2 / 2c^2), the Lorentzian (Black and Anandan 1996), which outliers hardly
move. Its gradient is written by hand."""

import taichi as ti

import tidr
from tidr.array import Array
from tidr.fitting.tape import Loss, Operation, run

SCALE = 0.1  # c: differences far above it count little
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def add_up(x: A2, y: A2, scale: float, out: A2):
    for i, c in x:
        d = (x[i, c] - y[i, c]) / scale
        out[0, 0] += ti.log(1.0 + 0.5 * d * d) / (x.shape[0] * x.shape[1])


@ti.kernel
def add_up_adjoint(x: A2, y: A2, scale: float, grad_out: A2, grad_x: A2):
    for i, c in x:
        d = (x[i, c] - y[i, c]) / scale
        slope = d / (1.0 + 0.5 * d * d) / scale
        grad_x[i, c] += grad_out[0, 0] * slope / (x.shape[0] * x.shape[1])


@tidr.register_loss("lorentzian", mean=True)
def lorentzian(image, target) -> Loss:
    seen, wanted, out = image.rgb, target.rgb, Array(())

    def forward() -> None:
        out.value.fill(0.0)
        add_up(seen.value, wanted.value, SCALE, out.value)

    def backward() -> None:
        add_up_adjoint(seen.value, wanted.value, SCALE, out.grad, seen.grad)

    run(Operation(forward, backward, [seen], [out], "lorentzian"))
    return Loss(out)
