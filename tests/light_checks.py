"""The functions of kernels/transport/lights.py and emission.py over rows of random numbers, as numpy arrays and losses.

What a renderer would do with them, in its smallest form: one contribution for each row, no visibility.
"""

from dataclasses import dataclass

import numpy as np
import taichi as ti

import tidr
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Loss, Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.accumulate import add3, load3
from tidr.kernels.compiling import large
from tidr.kernels.transport import emission, lights
from tidr.kernels.transport.surface import corners
from tidr.kernels.transport.tables import Tables
from tidr.renderers.geometry import pack, world
from tidr.renderers.transport_lights import Lights

from .chi_square import pearson_p, sidak, sphere_nodes
from .gradients import weighted

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
BELOW_ONE = 1.0 - 2.0**-24
CHI_SQUARES = 36  # tests of this kind, at most


@large
@ti.kernel
def sample_rows(
    kinds: ti.template(), n: ti.i32, x: A2, u: A2, entries: A2, values: A2, cdf: A1, texels: A2, alias: A1, faces: A2,
    positions: A2, out: A2,
):  # fmt: skip
    """out [n, 15]: entry, kind, triangle, b1, b2, d, distance, value, pdf, delta, chance."""
    for i in range(n):
        t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
        at = load3(x, i % x.shape[0])
        entry, kind, triangle, b1, b2, d, distance, value, pdf, delta = lights.sample(
            kinds, t, at, u[i, 0], u[i, 1], u[i, 2]
        )
        for c in ti.static(range(3)):
            out[i, 5 + c], out[i, 9 + c] = d[c], value[c]
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = entry, kind, triangle, b1, b2
        out[i, 8], out[i, 12], out[i, 13], out[i, 14] = distance, pdf, delta, lights.chance_of(t, entry)


@large
@ti.kernel
def emit_rows(
    kinds: ti.template(), n: ti.i32, u: A2, entries: A2, values: A2, cdf: A1, texels: A2, alias: A1, faces: A2,
    positions: A2, out: A2,
):  # fmt: skip
    """out [n, 15]: entry, kind, triangle, b1, b2, position, direction, weight, chance."""
    for i in range(n):
        t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
        entry, kind, triangle, b1, b2, position, direction, weight = emission.emit(
            kinds, t, u[i, 0], u[i, 1], u[i, 2], u[i, 3], u[i, 4]
        )
        for c in ti.static(range(3)):
            out[i, 5 + c], out[i, 8 + c], out[i, 11 + c] = position[c], direction[c], weight[c]
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = entry, kind, triangle, b1, b2
        out[i, 14] = lights.chance_of(t, entry)


@large
@ti.kernel
def far_rows(
    kinds: ti.template(), n: ti.i32, suns: ti.i32, d: A2, entries: A2, values: A2, cdf: A1, texels: A2, alias: A1,
    faces: A2, positions: A2, out: A2,
):  # fmt: skip
    """out [n, 4]: environment_radiance and pdf_of_direction."""
    for i in range(n):
        t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
        value = lights.environment_radiance(kinds, t, load3(d, i), suns)
        for c in ti.static(range(3)):
            out[i, c] = value[c]
        out[i, 3] = lights.pdf_of_direction(kinds, t, load3(d, i), suns)


@large
@ti.kernel
def hit_rows(n: ti.i32, hits: A2, entries: A2, values: A2, cdf: A1, texels: A2, alias: A1, faces: A2, positions: A2,
             out: A2):  # fmt: skip
    """out [n, 1]: pdf_of_hit of hits [n, 5]: entry, d, distance."""
    for i in range(n):
        t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
        entry = ti.cast(hits[i, 0], ti.i32)
        p0, p1, p2 = corners(faces, positions, entries[lights.HEADER + entry, 1])
        d = ti.Vector([hits[i, 1], hits[i, 2], hits[i, 3]])
        out[i, 0] = lights.pdf_of_hit(t, entry, d, hits[i, 4], (p1 - p0).cross(p2 - p0))


@ti.func
def scatter_corners(faces: ti.template(), triangle, g, part: ti.template()):
    for k in ti.static(range(3)):
        add3(part, faces[triangle, k], ti.Vector([g[k, 0], g[k, 1], g[k, 2]]), False)


@large
@ti.kernel
def sample_back(
    kinds: ti.template(), n: ti.i32, way: A2, grad_out: A2, x: A2, u: A2, entries: A2, values: A2, cdf: A1,
    texels: A2, alias: A1, faces: A2, positions: A2, to_x: A2, part: A1, texel_part: A1, corner_part: A1,
):  # fmt: skip
    """Of the contributions of `Rig.received`, on one thread."""
    for _ in range(1):
        for i in range(n):
            t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
            at = load3(x, i)
            entry, _kind, triangle, b1, b2, d, _distance, value, pdf, _delta = lights.sample(
                kinds, t, at, u[i, 0], u[i, 1], u[i, 2]
            )
            share = lights.chance_of(t, entry) / pdf
            g, k = load3(grad_out, i), load3(way, i)
            to_at, to_corners = lights.sample_adjoint(
                kinds, t, at, entry, b1, b2, d, g * ((2.0 + k.dot(d)) * share), k * (g.dot(value) * share),
                part, 0, texel_part, 0, False,
            )  # fmt: skip
            for c in ti.static(range(3)):
                to_x[i, c] = to_x[i, c] + to_at[c]
            if triangle >= 0:
                scatter_corners(faces, triangle, to_corners, corner_part)


@large
@ti.kernel
def emit_back(
    kinds: ti.template(), n: ti.i32, way: A2, grad_out: A2, u: A2, entries: A2, values: A2, cdf: A1, texels: A2,
    alias: A1, faces: A2, positions: A2, part: A1, texel_part: A1, corner_part: A1,
):  # fmt: skip
    """Of the contributions of `Rig.sent`, on one thread."""
    for _ in range(1):
        for i in range(n):
            t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
            entry, _kind, triangle, b1, b2, position, direction, weight = emission.emit(
                kinds, t, u[i, 0], u[i, 1], u[i, 2], u[i, 3], u[i, 4]
            )
            g, k, chance = load3(grad_out, i), load3(way, i), lights.chance_of(t, entry)
            m = ti.Vector([way[i, 3], way[i, 4], way[i, 5]])
            along = g.dot(weight) * chance
            to_corners = emission.emit_adjoint(
                kinds, t, entry, b1, b2, position, direction, k * along, m * along,
                g * (chance * (3.0 + k.dot(position) + m.dot(direction))), part, 0, texel_part, 0, False,
            )  # fmt: skip
            if triangle >= 0:
                scatter_corners(faces, triangle, to_corners, corner_part)


@large
@ti.kernel
def far_back(
    kinds: ti.template(), n: ti.i32, suns: ti.i32, grad_out: A2, d: A2, entries: A2, values: A2, cdf: A1, texels: A2,
    alias: A1, faces: A2, positions: A2, to_d: A2, part: A1, texel_part: A1,
):  # fmt: skip
    """Of environment_radiance, on one thread."""
    for _ in range(1):
        for i in range(n):
            t = ti.static(Tables(None, None, faces, positions, *[None] * 6, entries, values, cdf, texels, alias))
            back = lights.environment_radiance_adjoint(
                kinds, t, load3(d, i), suns, load3(grad_out, i), part, 0, texel_part, 0, False
            )
            for c in ti.static(range(3)):
                to_d[i, c] = to_d[i, c] + back[c]


@dataclass(frozen=True)
class Samples:
    """What `lights.sample` returned, a row each, with the probability of the entry."""

    rows: np.ndarray

    def __getattr__(self, name: str) -> np.ndarray:
        columns = {"entry": 0, "kind": 1, "triangle": 2, "b1": 3, "b2": 4, "distance": 8, "pdf": 12, "delta": 13}
        columns |= {"chance": 14, "d": slice(5, 8), "value": slice(9, 12)}
        return self.rows[:, columns[name]]


@dataclass(frozen=True)
class Photons:
    """What `emission.emit` returned, a row each, with the probability of the entry."""

    rows: np.ndarray

    def __getattr__(self, name: str) -> np.ndarray:
        columns = {"entry": 0, "kind": 1, "triangle": 2, "chance": 14}
        columns |= {"position": slice(5, 8), "direction": slice(8, 11), "weight": slice(11, 14)}
        return self.rows[:, columns[name]]


class Rig:
    """A scene's lights with the tables that they need, made at this moment; on the open tape."""

    def __init__(self, scene: tidr.Scene) -> None:
        packed = pack(scene)
        self.world = world(scene, packed)
        self.lights = Lights(scene, self.world)
        # All kinds but the environment, which reads its own entry: fewer masks, so fewer kernels to compile.
        self.kinds = self.lights.kinds | (1 << lights.ENVIRONMENT) - 1 | 1 << lights.SUN
        corner_rows = packed.triangles.to_numpy()[: packed.faces]
        rows = np.full((max(packed.faces, 1), 12), -1, np.int32)
        rows[: len(corner_rows), :3] = corner_rows
        self._faces = Buffer(rows.shape, "int")
        self._faces.ndarray.from_numpy(rows)

    @property
    def tables(self) -> tuple:
        return *self.lights.tables, self._faces.ndarray, self.world.positions.value

    def centers(self, entry: np.ndarray) -> np.ndarray:
        """Random numbers in the middle of what chooses each entry."""
        cdf = self.lights.cdf.ndarray.to_numpy().astype(np.float64)
        return 0.5 * (cdf[entry] + cdf[entry + 1])

    def sample(self, x, u) -> Samples:
        """At points x [n or 1, 3] for random numbers u [n, 3]."""
        x, u = Array.of(np.atleast_2d(x), False), Array.of(u, False)
        out = Array((u.rows, 15), False)
        sample_rows(self.kinds, u.rows, x.value, u.value, *self.tables, out.value)
        return Samples(out.numpy().astype(np.float64))

    def emit(self, u) -> Photons:
        """For random numbers u [n, 5]."""
        u = Array.of(u, False)
        out = Array((u.rows, 15), False)
        emit_rows(self.kinds, u.rows, u.value, *self.tables, out.value)
        return Photons(out.numpy().astype(np.float64))

    def far(self, d, suns: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Radiance [n, 3] and pdf [n] in directions d [n, 3]."""
        d = Array.of(d, False)
        out = Array((d.rows, 4), False)
        far_rows(self.kinds, d.rows, suns, d.value, *self.tables, out.value)
        found = out.numpy().astype(np.float64)
        return found[:, :3], found[:, 3]

    def hit_pdf(self, entry, d, distance) -> np.ndarray:
        hits = Array.of(np.column_stack([entry, d, distance]), False)
        out = Array((hits.rows, 1), False)
        hit_rows(hits.rows, hits.value, *self.tables, out.value)
        return out.numpy().astype(np.float64)[:, 0]

    def received(self, x: Array, entry: np.ndarray, u: np.ndarray, way: np.ndarray, weights: np.ndarray) -> Loss:
        """Sum over rows of weights . value (2 + way . d) chance / pdf: without the choice of the entry; on the tape."""
        rows = Array.of(np.column_stack([self.centers(entry), u]), False)
        ways, out, found = Array.of(way, False), Array((len(u), 3)), Array((len(u), 15), False)

        def forward() -> None:
            sample_rows(self.kinds, rows.rows, x.value, rows.value, *self.tables, found.value)
            s = Samples(found.numpy().astype(np.float64))
            assert (s.entry == entry).all()
            assert (s.pdf > 0).all()
            out.set(s.value * ((2 + (way * s.d).sum(1)) * s.chance / s.pdf)[:, None])

        def backward() -> None:
            with _Parts(self) as parts:
                sample_back(
                    self.kinds, rows.rows, ways.value, out.grad, x.value, rows.value, *self.tables, x.grad, *parts
                )  # fmt: skip

        self._record(forward, backward, [x], out)
        return weighted(out, weights)

    def sent(self, entry: np.ndarray, u: np.ndarray, way: np.ndarray, weights: np.ndarray) -> Loss:
        """Sum over rows of weights . weight (3 + way . (position, direction)) chance; on the tape."""
        rows = Array.of(np.column_stack([self.centers(entry), u]), False)
        ways, out, found = Array.of(way, False), Array((len(u), 3)), Array((len(u), 15), False)

        def forward() -> None:
            emit_rows(self.kinds, rows.rows, rows.value, *self.tables, found.value)
            p = Photons(found.numpy().astype(np.float64))
            assert (p.entry == entry).all()
            away = (way * np.column_stack([p.position, p.direction])).sum(1)
            out.set(p.weight * ((3 + away) * p.chance)[:, None])

        def backward() -> None:
            with _Parts(self) as parts:
                emit_back(self.kinds, rows.rows, ways.value, out.grad, rows.value, *self.tables, *parts)

        self._record(forward, backward, [], out)
        return weighted(out, weights)

    def shining(self, d: Array, suns: int, weights: np.ndarray) -> Loss:
        """Sum of weights times environment_radiance in the directions d [n, 3]; on the tape."""
        out, found = Array((d.rows, 3)), Array((d.rows, 4), False)

        def forward() -> None:
            far_rows(self.kinds, d.rows, suns, d.value, *self.tables, found.value)
            out.set(found.numpy()[:, :3])

        def backward() -> None:
            with _Parts(self) as parts:
                far_back(self.kinds, d.rows, suns, out.grad, d.value, *self.tables, d.grad, *parts[:2])

        self._record(forward, backward, [d], out)
        return weighted(out, weights)

    def _record(self, forward, backward, inputs: list[Array], out: Array) -> None:
        inputs = [*inputs, self.lights.values, self.world.positions]
        if self.lights.environment is not None:
            inputs.append(self.lights.texels)
        run(Operation(forward, backward, inputs, [out], "light"))


class _Parts:
    """Zeroed accumulators of light_values, texels and positions; in the end they go to the gradients."""

    def __init__(self, rig: Rig) -> None:
        self.targets = [rig.lights.values, rig.lights.texels, rig.world.positions]
        self.buffers = [Buffer((array.rows * array.channels,)) for array in self.targets]

    def __enter__(self) -> list:
        for buffer in self.buffers:
            buffer.ndarray.fill(0.0)
        return [buffer.ndarray for buffer in self.buffers]

    def __exit__(self, *_) -> None:
        for array, buffer in zip(self.targets, self.buffers, strict=True):
            if array.grad is not None and needs(array):
                accumulate.collect(1, array.rows, array.channels, buffer.ndarray, array.grad)


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def over_sphere(values: np.ndarray) -> np.ndarray:
    """Integral over each cell of values at the nodes of `sphere_nodes`, all in one axis."""
    nodes, weights = sphere_nodes()
    return np.einsum("cq...,q->c...", values.reshape(*nodes.shape[:2], *values.shape[1:]), weights)


def everywhere() -> np.ndarray:
    """The nodes of `sphere_nodes` in one axis."""
    return sphere_nodes()[0].reshape(-1, 3)


def assert_falls_as(found: np.ndarray, expected: np.ndarray) -> None:
    """Chi-square of counts against expected counts; p > .01 after Sidak's correction for CHI_SQUARES such tests."""
    p = pearson_p(found.astype(float), expected)
    assert p > sidak(CHI_SQUARES), f"p = {p:.3g}"


def assert_even(*numbers: np.ndarray) -> None:
    """Numbers in [0, 1] that come together are independent and each evenly distributed."""
    bins = 12 if len(numbers) == 2 else 5
    index = np.zeros(len(numbers[0]), int)
    for number in numbers:
        assert number.min() > -1e-3
        assert number.max() < 1 + 1e-3
        index = index * bins + np.clip((number * bins).astype(int), 0, bins - 1)
    counts = np.bincount(index, minlength=bins ** len(numbers))
    assert_falls_as(counts, np.full(len(counts), len(index) / len(counts)))
