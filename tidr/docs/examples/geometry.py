"""A geometry of your own: the ball of the p-norm, |x / a|^p + |y / b|^p + |z / c|^p = 1 (Lame): 2 is an ellipsoid,
more a box. Every renderer of meshes draws it, and its radii and power have gradients."""

import numpy as np
import taichi as ti

import tidr
from tidr.array import Array
from tidr.fitting.tape import Operation, run

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def place(rays: A2, radii: A2, power: A2, out: A2, grad: A2, grad_radii: A2, grad_power: A2, adjoint: ti.template()):
    for v in range(rays.shape[0]):
        p, ray = power[0, 0], ti.Vector([rays[v, k] for k in ti.static(range(3))])
        terms = ti.Vector([ti.abs(ray[k] / radii[0, k]) + 1e-9 for k in ti.static(range(3))])
        powers = terms**p
        length = powers.sum() ** (-1.0 / p)
        for k in ti.static(range(3)):
            if ti.static(not adjoint):
                out[v, k] = length * ray[k]
        if ti.static(adjoint):
            share = length * (ray[0] * grad[v, 0] + ray[1] * grad[v, 1] + ray[2] * grad[v, 2])
            for k in ti.static(range(3)):
                grad_radii[0, k] += share * powers[k] / powers.sum() / radii[0, k]
            grad_power[0, 0] += share * (ti.log(powers.sum()) / p - powers.dot(ti.log(terms)) / powers.sum()) / p


@tidr.register_geometry("power_ball")
class PowerBall(tidr.ParametricSurface):
    def __init__(self, radii=(1, 1, 1), power=2.0, level=4) -> None:
        rays, faces = tidr.icosphere(level)
        self.level, self.rays = level, Array.of(rays, needs_grad=False)
        self.radii = tidr.Parameter(np.reshape(radii, 3), tidr.Constraint(positive=True))
        self.power = tidr.Parameter(power, tidr.Constraint(clamp=(0.5, 20)))
        super().__init__(faces, len(rays), {"radii": self.radii, "power": self.power})

    def vertices(self) -> Array:
        out, radii, power = Array((self.rays.rows, 3)), self.radii, self.power
        arrays = (self.rays.value, radii.value, power.value, out.value, out.grad, radii.grad, power.grad)
        run(Operation(lambda: place(*arrays, False), lambda: place(*arrays, True), [radii, power], [out], "power ball"))
        return out
