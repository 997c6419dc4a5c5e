"""Sensors of light transport driven from the host: rays, what is seen where, filters; shared by the tests."""

import numpy as np
import taichi as ti

import tidr
from tidr.array import Array
from tidr.fitting.tape import Operation, run
from tidr.kernels.transport import sensor as kernels
from tidr.renderers.transport_sensor import Sensors
from tidr.scene.camera import Camera

A1, A2 = ti.types.ndarray(ndim=1), ti.types.ndarray(ndim=2)
SIZE = (12, 8)  # width, height: twice that of the cameras


def camera(kind: str) -> Camera:
    eye = (0.4, 0.5, 3.2)
    if kind == "radiance_meter":
        return tidr.RadianceMeter(eye, (0.1, 0.3, -0.2))
    if kind == "irradiance_meter":
        return tidr.IrradianceMeter(eye, (-0.5, 0.9, 0.3))
    view = {"height_world": 2.6} if kind == "orthographic" else {"fov_y_degrees": 45}
    lens = {"aperture_radius": 0.3, "focus_distance": 2.1} if kind == "lens" else {}
    lens |= {"distortion": (-0.1, 0.2, 0.01, -0.02, 0.05, 0.03)} if kind == "distorted" else {}
    made = Camera.look_at(eye, (0, 0.1, 0), width=6, height=4, **view, **lens)
    made.principal_point.set([2.7, 2.2])
    made.focal.set(made.focal.numpy() * [1.1, 0.9])
    return made


@ti.kernel
def trace(
    sensors: ti.template(), count: ti.i32, table: A2, places: A2, origins: A2, directions: A2, cosines: A2, weights: A2
):
    """places [n, 5]: view, x, y, u3, u4."""
    for n in range(count):
        view = ti.cast(places[n, 0], ti.i32)
        o, d, cosine, weight = kernels.primary_ray(
            sensors, table, view, places[n, 1], places[n, 2], places[n, 3], places[n, 4]
        )
        for k in ti.static(range(3)):
            origins[n, k], directions[n, k] = o[k], d[k]
        cosines[n, 0], weights[n, 0] = cosine, weight


@ti.kernel
def trace_adjoint(
    sensors: ti.template(), copies: ti.i32, views: ti.i32, count: ti.i32, table: A2, places: A2, to_origins: A2,
    to_directions: A2, to_cosines: A2, to_weights: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    for n in range(count):
        view = ti.cast(places[n, 0], ti.i32)
        to_o = ti.Vector([to_origins[n, k] for k in ti.static(range(3))])
        to_d = ti.Vector([to_directions[n, k] for k in ti.static(range(3))])
        found = kernels.primary_ray_adjoint(
            sensors, table, view, places[n, 1], places[n, 2], places[n, 3], places[n, 4], to_o, to_d,
            to_cosines[n, 0], to_weights[n, 0],
        )  # fmt: skip
        kernels.add_row(part, (n % copies * views + view) * kernels.COLUMNS, found, atomic)


@ti.kernel
def see(
    sensors: ti.template(), count: ti.i32, table: A2, places: A2, points: A2, film: A2, importance: A2, toward: A2,
    distances: A2,
):  # fmt: skip
    for n in range(count):
        view, p = ti.cast(places[n, 0], ti.i32), ti.Vector([points[n, k] for k in ti.static(range(3))])
        x, y, w, direction, distance = kernels.project(sensors, table, view, p, places[n, 3], places[n, 4])
        film[n, 0], film[n, 1], importance[n, 0], distances[n, 0] = x, y, w, distance
        for k in ti.static(range(3)):
            toward[n, k] = direction[k]


@ti.kernel
def see_adjoint(
    sensors: ti.template(), copies: ti.i32, views: ti.i32, count: ti.i32, table: A2, places: A2, points: A2,
    to_film: A2, to_points: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    for n in range(count):
        view, p = ti.cast(places[n, 0], ti.i32), ti.Vector([points[n, k] for k in ti.static(range(3))])
        to_p, found = kernels.project_adjoint(
            sensors, table, view, p, places[n, 3], places[n, 4], to_film[n, 0], to_film[n, 1]
        )
        for k in ti.static(range(3)):
            to_points[n, k] = to_points[n, k] + to_p[k]
        kernels.add_row(part, (n % copies * views + view) * kernels.COLUMNS, found, atomic)


@ti.kernel
def filtered(film: ti.template(), count: ti.i32, numbers: A2, offsets: A2):
    for n in range(count):
        found = kernels.film_offset(film, numbers[n, 0], numbers[n, 1])
        offsets[n, 0], offsets[n, 1] = found.x, found.y


@ti.kernel
def densities(film: ti.template(), count: ti.i32, offsets: A2, out: A2):
    for n in range(count):
        out[n, 0] = kernels.film_density(film, offsets[n, 0], offsets[n, 1])


class Traced:
    """Rays [n] through places [n, 5] (view, x, y, u3, u4), differentiable to the cameras."""

    def __init__(self, cameras: list[Camera], places: np.ndarray, size: tuple[int, int] = SIZE) -> None:
        sensors, n = Sensors(cameras, *size), len(places)
        at = Array.of(places, needs_grad=False)
        self.origins, self.directions, self.cosines = Array((n, 3)), Array((n, 3)), Array((n, 1))
        self.weights = Array((n, 1))
        outputs = [self.origins, self.directions, self.cosines, self.weights]

        def forward() -> None:
            trace(sensors.mask, n, sensors.table.value, at.value, *(array.value for array in outputs))

        def backward() -> None:
            part, grads = sensors.part(), [array.grad for array in outputs]
            trace_adjoint(
                sensors.mask,
                sensors.copies,
                sensors.count,
                n,
                sensors.table.value,
                at.value,
                *grads,
                part.ndarray,
                True,
            )
            sensors.collect(part)

        run(Operation(forward, backward, [sensors.table], outputs, "trace"))


class Seen:
    """Where points [n, 3] are seen through the lens points of places [n, 5], differentiable."""

    def __init__(self, cameras: list[Camera], places: np.ndarray, points: Array) -> None:
        sensors, n = Sensors(cameras, *SIZE), len(places)
        at = Array.of(places, needs_grad=False)
        self.film, self.importance = Array((n, 2)), Array((n, 1))
        self.toward, self.distances = Array((n, 3)), Array((n, 1))
        outputs = [self.film, self.importance, self.toward, self.distances]

        def forward() -> None:
            see(sensors.mask, n, sensors.table.value, at.value, points.value, *(array.value for array in outputs))

        def backward() -> None:
            part = sensors.part()
            see_adjoint(
                sensors.mask, sensors.copies, sensors.count, n, sensors.table.value, at.value, points.value,
                self.film.grad, points.grad, part.ndarray, True,
            )  # fmt: skip
            sensors.collect(part)

        run(Operation(forward, backward, [sensors.table, points], outputs, "see"))


def places(views: int, count: int, seed: int = 0) -> np.ndarray:
    """Random film points, inside the picture, and lens points of `count` rays for each view."""
    rng = np.random.default_rng(seed)
    view = np.repeat(np.arange(views), count)
    return np.column_stack([view, rng.uniform(0, SIZE[0], view.size), rng.uniform(0, SIZE[1], view.size),
                            rng.uniform(size=(view.size, 2))])  # fmt: skip


def sequence(count: int, dimensions: int) -> np.ndarray:
    """[count, dimensions] evenly spread numbers in [0, 1): an additive recurrence (Roberts 2018)."""
    base = np.real(max(np.roots([1] + [0] * (dimensions - 1) + [-1, -1]), key=lambda root: root.real))
    return (0.5 + np.outer(np.arange(count), base ** -np.arange(1.0, dimensions + 1))) % 1.0
