"""Checks that every kind of BSDF must pass, whoever wrote it: a table of inputs in, numpy arrays out.

A test makes one `Bsdfs` for the kinds of its file, so that each kernel is compiled once for all of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import taichi as ti

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.compiling import large
from tidr.kernels.transport import bsdf, slots

from .chi_square import cell_counts, pearson_p, sidak, sphere_nodes
from .conftest import start

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
PARAMS = slots.PARAMS
BELOW_ONE = 1.0 - 2.0**-24  # the largest number of kernels/rng.py
DRAWS = 100_000


@ti.func
def row(array: ti.template(), i, channels: ti.template()):
    return ti.Vector([array[i % array.shape[0], c] for c in ti.static(range(channels))])


@large
@ti.kernel
def evaluate_rows(
    kinds: ti.template(), mode: ti.template(), n: ti.i32, kind: A1, parameters: A2, wi: A2, wo: A2, out: A2
):
    """out [n, 4] = f cos and pdf; an input of fewer rows is repeated."""
    for i in range(n):
        p = row(parameters, i, PARAMS)
        value, pdf = bsdf.evaluate(kinds, kind[i % kind.shape[0]], p, row(wi, i, 3), row(wo, i, 3), mode)
        for c in ti.static(range(3)):
            out[i, c] = value[c]
        out[i, 3] = pdf


@large
@ti.kernel
def sample_rows(kinds: ti.template(), mode: ti.template(), n: ti.i32, kind: A1, parameters: A2, wi: A2, u: A2, out: A2):
    """out [n, 9] = wo, weight, pdf, delta, eta."""
    for i in range(n):
        p, k = row(parameters, i, PARAMS), kind[i % kind.shape[0]]
        wo, weight, pdf, delta, eta = bsdf.sample(kinds, k, p, row(wi, i, 3), u[i, 0], u[i, 1], u[i, 2], mode)
        for c in ti.static(range(3)):
            out[i, c], out[i, 3 + c] = wo[c], weight[c]
        out[i, 6], out[i, 7], out[i, 8] = pdf, delta, eta


@large
@ti.kernel
def adjoint_rows(
    kinds: ti.template(), mode: ti.template(), n: ti.i32, kind: A1, parameters: A2, wi: A2, wo: A2, g: A2, out: A2
):
    """out [n, 34 + 31] = what evaluate_adjoint and weight_adjoint return, side by side."""
    for i in range(n):
        p, k = row(parameters, i, PARAMS), kind[i % kind.shape[0]]
        grad_p, grad_wi, grad_wo = bsdf.evaluate_adjoint(kinds, k, p, row(wi, i, 3), row(wo, i, 3), row(g, i, 3), mode)
        delta_p, delta_wi = bsdf.weight_adjoint(kinds, k, p, row(wi, i, 3), row(wo, i, 3), row(g, i, 3), mode)
        for c in ti.static(range(PARAMS)):
            out[i, c], out[i, PARAMS + 6 + c] = grad_p[c], delta_p[c]
        for c in ti.static(range(3)):
            out[i, PARAMS + c], out[i, PARAMS + 3 + c] = grad_wi[c], grad_wo[c]
            out[i, 2 * PARAMS + 6 + c] = delta_wi[c]


@dataclass(frozen=True)
class Samples:
    """What `sample` returned, a row each."""

    wo: np.ndarray
    weight: np.ndarray
    pdf: np.ndarray
    delta: np.ndarray
    eta: np.ndarray

    @property
    def smooth(self) -> np.ndarray:
        """Rows that did not fail and are no delta lobe."""
        return (self.pdf > 0) & (self.delta == 0)


class Bsdfs:
    """The functions of kernels/transport/bsdf.py over rows of inputs, on whichever backend runs.

    Parameters are [n or 1, PARAMS], directions [n or 1, 3]; `mode` is radiance_mode.
    """

    def __init__(self, kinds: Iterable[int]) -> None:
        self.kinds = sum(1 << kind for kind in kinds)

    def _launch(self, kernel, columns: int, kind, mode: int, inputs) -> np.ndarray:
        n = max(len(rows) for rows in inputs)
        kinds = Buffer((1 if np.isscalar(kind) else n,), "int")
        kinds.ndarray.from_numpy(np.atleast_1d(np.asarray(kind, np.int32)))
        arrays, out = [Array.of(rows, False) for rows in inputs], Array((n, columns), False)
        kernel(self.kinds, mode, n, kinds.ndarray, *(array.value for array in arrays), out.value)
        return out.numpy().astype(np.float64)

    def evaluate(self, kind, p, wi, wo, mode: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(f cos [n, 3], pdf [n])."""
        out = self._launch(evaluate_rows, 4, kind, mode, [p, wi, wo])
        return out[:, :3], out[:, 3]

    def sample(self, kind, p, wi, u, mode: int = 1) -> Samples:
        out = self._launch(sample_rows, 9, kind, mode, [p, wi, u])
        return Samples(out[:, :3], out[:, 3:6], out[:, 6], out[:, 7], out[:, 8])

    def adjoint(self, kind, p, wi, wo, g, mode: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(gradient of g . f cos [n, PARAMS + 6], gradient of g . the delta lobe's weight [n, PARAMS + 3])."""
        out = self._launch(adjoint_rows, 2 * PARAMS + 9, kind, mode, [p, wi, wo, g])
        return out[:, : PARAMS + 6], out[:, PARAMS + 6 :]


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def transmits(kind: int) -> bool:
    return bool(slots.TRANSMITTING >> kind & 1)


def materials(kind: int, n: int, rng: np.random.Generator, **fixed) -> np.ndarray:
    """Random parameters [n, PARAMS] inside every slot's range; `fixed` overrides slots by name."""
    p = rng.uniform(0.1, 0.9, (n, PARAMS))
    metal = kind in (slots.CONDUCTOR, slots.ROUGH_CONDUCTOR)
    p[:, slots.ETA : slots.ETA + 3] = rng.uniform(0.2, 2.5, (n, 3)) if metal else rng.uniform(1.2, 2.2, (n, 1))
    p[:, slots.K : slots.K + 3] = rng.uniform(0.5, 4.0, (n, 3))
    p[:, slots.ROUGHNESS] = rng.uniform(0.15, 0.95, n)
    p[:, slots.SHININESS] = rng.uniform(2.0, 60.0, n)
    for name, value in fixed.items():
        size = 3 if name in ("albedo", "specular", "transmittance", "eta", "k") else 1
        p[:, slots.OFFSETS[name] : slots.OFFSETS[name] + size] = value
    return p


def directions(n: int, rng: np.random.Generator, both_sides: bool, grazing: float = 0.0) -> np.ndarray:
    """Random unit vectors [n, 3]; a share of them close to the surface, |z| from 1e-3."""
    w = unit(rng.normal(size=(n, 3)))
    flat = rng.uniform(size=n) < grazing
    w[flat, 2] *= 10 ** rng.uniform(-3, -1, flat.sum()) / np.abs(w[flat, 2])
    if not both_sides:
        w[:, 2] = np.abs(w[:, 2])
    return unit(w)


def scenes(
    bsdfs: Bsdfs, kind: int, n: int, seed: int, **fixed
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random (p, wi, wo, g): half of the wo sampled, so that narrow lobes are met, the others anywhere."""
    rng = np.random.default_rng(seed)
    p = materials(kind, n, rng, **fixed)
    wi = directions(n, rng, transmits(kind), grazing=0.15)
    wo = directions(n, rng, transmits(kind), grazing=0.15)
    drawn = bsdfs.sample(kind, p, wi, rng.uniform(0, BELOW_ONE, (n, 3)))
    taken = drawn.smooth & (np.abs(drawn.wo[:, 2]) > 1e-3) & (rng.uniform(size=n) < 0.5)
    wo[taken] = unit(drawn.wo[taken])
    return p, wi, wo, rng.normal(size=(n, 3))


def tangents(w: np.ndarray) -> np.ndarray:
    """Two unit vectors [2, n, 3] along the sphere at each w."""
    aside = np.where(np.abs(w[:, :1]) < 0.6, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = unit(np.cross(w, aside))
    return np.stack([first, np.cross(w, first)])


def differences(
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], inputs: list[np.ndarray], step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes [n, PARAMS + 2 per direction] by Richardson's central differences, and whether the row is smooth there.

    `inputs` are p and one or two directions; each direction moves along the sphere. All points go into one launch.
    """
    n = len(inputs[0])
    moves = [(0, np.eye(PARAMS)[c] * np.ones((n, 1))) for c in range(PARAMS)]
    moves += [(i, t) for i in range(1, len(inputs)) for t in tangents(inputs[i])]
    points: list[list[np.ndarray]] = [[] for _ in inputs]
    for which, move in moves:
        for h in (step, -step, step / 2, -step / 2):
            for i, rows in enumerate(inputs):
                moved = rows + h * move if i == which else rows
                points[i].append(unit(moved) if i == which and i > 0 else moved)
    f = value(*(np.concatenate(rows) for rows in points)).reshape(len(moves), 4, n)
    coarse, fine = (f[:, 0] - f[:, 1]) / (2 * step), (f[:, 2] - f[:, 3]) / step
    size = np.maximum(np.abs(fine), 1e-2 * np.abs(fine).max(0))
    smooth = (np.abs(coarse - fine) <= 1e-2 * size).all(0)
    return ((4 * fine - coarse) / 3).T, smooth


def along_sphere(gradient: np.ndarray, ways: list[np.ndarray]) -> np.ndarray:
    """A gradient [n, PARAMS + 3 per direction] as slopes along the parameters and the directions' tangents."""
    parts = [gradient[:, :PARAMS]]
    for i, w in enumerate(ways):
        by_w = gradient[:, PARAMS + 3 * i : PARAMS + 3 * i + 3]
        parts.append(np.einsum("nc,tnc->nt", by_w, tangents(w)))
    return np.concatenate(parts, 1)


def assert_slopes(exact: np.ndarray, measured: np.ndarray, rtol: float, what: str) -> None:
    scale = np.maximum(np.maximum(np.abs(exact), np.abs(measured)), 1e-3 * np.abs(measured).max(1, keepdims=True))
    error = np.abs(exact - measured) / np.maximum(scale, 1e-12)
    i, c = np.unravel_index(np.argmax(error), error.shape)
    assert error[i, c] <= rtol, f"{what}: row {i}, slope {c}: adjoint {exact[i, c]:.9g}, expected {measured[i, c]:.9g}"


def check_adjoint(
    bsdfs: Bsdfs, kind: int, backend, seed: int = 0, n: int = 400, mode: int = 1, finer: float = 1.0, **fixed
) -> None:
    """evaluate_adjoint against differences in f64, in every parameter (also those that must not count) and direction.

    Lobes narrower than about 0.01 want a `finer` step.
    """
    p, wi, wo, g = scenes(bsdfs, kind, n, seed, **fixed)

    def value(p, wi, wo):
        return (bsdfs.evaluate(kind, p, wi, wo, mode)[0] * np.tile(g, (len(p) // n, 1))).sum(1)

    measured, smooth = differences(value, [p, wi, wo], backend.step / finer)
    exact = along_sphere(bsdfs.adjoint(kind, p, wi, wo, g, mode)[0], [wi, wo])
    lit = np.abs(measured).max(1) > 0
    assert np.abs(exact[~lit & smooth]).max(initial=0.0) == 0
    assert lit.mean() > 0.3, "hardly any direction carries light"
    assert (~smooth).mean() < 0.01, f"{(~smooth).sum()} of {n} rows have a kink"
    assert_slopes(exact[smooth], measured[smooth], backend.rtol, f"kind {kind}, seed {seed}, mode {mode}")


def check_weight_adjoint(bsdfs: Bsdfs, kind: int, backend, u1: float, seed: int = 0, mode: int = 1, **fixed) -> None:
    """weight_adjoint against differences of weight pdf over the chance of the lobe that u1 leads to."""
    rng, n = np.random.default_rng(seed), 400
    p, wi = materials(kind, n, rng, **fixed), directions(n, rng, transmits(kind), grazing=0.15)
    u, g = np.array([[u1, 0.5, 0.5]]) * np.ones((n, 1)), rng.normal(size=(n, 3))
    start_ = bsdfs.sample(kind, p, wi, u, mode)
    assert (start_.delta == 1).all()

    def value(p, wi):
        times = len(p) // n
        moved = bsdfs.sample(kind, p, wi, np.tile(u, (times, 1)), mode)
        return (moved.weight * np.tile(g, (times, 1))).sum(1) * moved.pdf / np.tile(start_.pdf, times)

    measured, smooth = differences(value, [p, wi], backend.step)
    exact = along_sphere(bsdfs.adjoint(kind, p, wi, start_.wo, g, mode)[1], [wi])
    assert (~smooth).mean() < 0.01
    assert_slopes(exact[smooth], measured[smooth], backend.rtol, f"kind {kind}, delta lobe {u1}, mode {mode}")


def check_f32_adjoint(bsdfs: Bsdfs, kinds: Iterable[int], arch: str, seed: int = 0, n: int = 400, **fixed) -> None:
    """Both adjoints in f32 on a backend against f64, at inputs that f32 holds exactly."""
    start("cpu", 64)
    f64 = {}
    for kind in kinds:
        inputs = [rows.astype(np.float32) for rows in scenes(bsdfs, kind, n, seed, **fixed)]
        f64[kind] = inputs, bsdfs.adjoint(kind, *inputs)
    backend = start(arch, 32)
    for kind, (inputs, expected) in f64.items():
        ways = [unit(way.astype(np.float64)) for way in inputs[1:3]]
        for moved, found, wanted in zip((ways, ways[:1]), bsdfs.adjoint(kind, *inputs), expected, strict=True):
            what = f"kind {kind}, {'value' if moved is ways else 'weight'}"
            assert_slopes(along_sphere(found, moved), along_sphere(wanted, moved), backend.rtol, what)


def check_finite(bsdfs: Bsdfs, kind: int, modes: Iterable[int] = (1,), seed: int = 0) -> None:
    """All outputs are finite for all pairs of directions, grazing, equal and opposite too, and extreme materials."""
    rng = np.random.default_rng(seed)
    heights = [0.0, 1e-20, 1e-7, 2e-6, 1e-4, 0.3, 1.0]
    ways = np.concatenate([[[np.sqrt(1 - z * z), 0, s * z] for s in (1, -1)] for z in heights])
    ways = np.concatenate([ways, -ways, directions(4, rng, True)])
    p = np.repeat(materials(kind, 4, rng), 2, 0)
    p[::2, slots.ALBEDO : slots.ETA] = rng.integers(0, 2, (4, 9))
    p = np.repeat(p, 12, 0)
    p[:, slots.ROUGHNESS] = np.tile([0.0, 1.0, 0.02, 0.5], 24)
    p[:, slots.ETA : slots.ETA + 3] = np.tile([1.0, 1.0001, 0.999, 1.5, 0.5, 4.0], 16)[:, None]
    p[:, slots.K : slots.K + 3] = np.tile([0.0, 0.0, 8.0], 32)[:, None]
    p[:, slots.SHININESS] = rng.choice([0.0, 1.0, 40.0, 1e4], 96)
    for name in ("metallic", "specular_tint", "sheen", "sheen_tint", "clearcoat", "clearcoat_roughness", "anisotropy",
                 "transmission", "flatness"):  # fmt: skip
        p[:, slots.OFFSETS[name]] = rng.integers(0, 2, len(p))
    p = p[rng.permutation(len(p))[:32]]
    i, o, m = (grid.ravel() for grid in np.meshgrid(range(len(ways)), range(len(ways)), range(len(p)), indexing="ij"))
    u = rng.choice([0.0, 1e-7, 0.5, BELOW_ONE], (len(m), 3))
    for mode in modes:
        value, pdf = bsdfs.evaluate(kind, p[m], ways[i], ways[o], mode)
        drawn = bsdfs.sample(kind, p[m], ways[i], u, mode)
        for result in (value, pdf, drawn.wo, drawn.weight, drawn.pdf, drawn.eta):
            assert np.isfinite(result).all()
        assert value.min() >= 0
        assert pdf.min() >= 0
        assert drawn.weight.min() >= 0
        assert (drawn.weight[drawn.pdf == 0] == 0).all()
        np.testing.assert_allclose(np.linalg.norm(drawn.wo, axis=1)[drawn.pdf > 0], 1, rtol=1e-5)
        for gradient in bsdfs.adjoint(kind, p[m], ways[i], ways[o], rng.normal(size=(len(m), 3)), mode):
            assert np.isfinite(gradient).all()


def check_weights(bsdfs: Bsdfs, kind: int, seed: int = 0, mode: int = 1, rtol: float = 1e-7, **fixed) -> None:
    """A sample that is no delta lobe has the pdf that evaluate gives, and weight = f cos / pdf."""
    rng, n = np.random.default_rng(seed), 20000
    p, wi = materials(kind, n, rng, **fixed), directions(n, rng, transmits(kind), grazing=0.1)
    drawn = bsdfs.sample(kind, p, wi, rng.uniform(0, BELOW_ONE, (n, 3)), mode)
    assert drawn.smooth.mean() > 0.3
    rows = drawn.smooth & (np.abs(drawn.wo[:, 2]) > 1e-4)
    value, pdf = bsdfs.evaluate(kind, p[rows], wi[rows], drawn.wo[rows], mode)
    np.testing.assert_allclose(pdf, drawn.pdf[rows], rtol=rtol)
    np.testing.assert_allclose(value / pdf[:, None], drawn.weight[rows], rtol=rtol, atol=1e-12)


def integrals(bsdfs: Bsdfs, kind: int, p: np.ndarray, wi: np.ndarray, mode: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrals of f cos [cells, 3] and of the pdf [cells] over each cell of the sphere."""
    nodes, weights = sphere_nodes()
    value, pdf = bsdfs.evaluate(kind, p, wi, nodes.reshape(-1, 3), mode)
    shape = (len(nodes), len(weights))
    return np.einsum("cqk,q->ck", value.reshape(*shape, 3), weights), pdf.reshape(shape) @ weights


def check_sampling(bsdfs: Bsdfs, kind: int, seed: int, tests: int, mode: int = 0, **fixed) -> None:
    """Samples fall as the pdf says (chi-square over the sphere, failures a cell of their own) and carry its energy.

    `tests` is how many such tests the file runs: p > .01 after Sidak's correction. The mean weight must be the integral
    of f cos plus what delta lobes carry, and for photons (mode 0) no more than 1.
    """
    rng = np.random.default_rng(seed)
    p, wi = materials(kind, 1, rng, **fixed), directions(1, rng, transmits(kind))
    wi[:, 2] = np.copysign(np.maximum(np.abs(wi[:, 2]), 0.1), wi[:, 2])
    wi = unit(wi)
    value, share = integrals(bsdfs, kind, p, wi, mode)
    drawn = bsdfs.sample(kind, p, wi, rng.uniform(0, BELOW_ONE, (DRAWS, 3)), mode)
    found = cell_counts(drawn.wo[drawn.smooth])
    # What is no smooth sample, failed or a delta lobe, has a cell of its own.
    expected = DRAWS * np.append(share, max(1 - share.sum(), 0))
    found = np.append(found, DRAWS - found.sum())
    assert pearson_p(found, expected) > sidak(tests), f"kind {kind}, seed {seed}"

    carried = drawn.weight
    total = value.sum(0) + (carried * drawn.delta[:, None]).mean(0)
    error = carried.std(0) / np.sqrt(DRAWS)
    assert (np.abs(carried.mean(0) - total) <= 4.5 * error + 1e-4).all(), (carried.mean(0), total, error)
    if mode == 0:
        assert (total <= 1 + 1e-3 + 4.5 * error).all(), total


def delta_energy(bsdfs: Bsdfs, kind: int, p: np.ndarray, wi: np.ndarray, mode: int = 0) -> np.ndarray:
    """What the delta lobes send on [n, 3]: the sum of weight pdf over the lobes that u1 = 0 and u1 -> 1 lead to."""
    low, high = (bsdfs.sample(kind, p, wi, np.full((len(wi), 3), u), mode) for u in (0.0, BELOW_ONE))
    other = np.linalg.norm(high.wo - low.wo, axis=1) > 1e-9
    energy = [np.where(lobe.delta == 1, lobe.pdf, 0)[:, None] * lobe.weight for lobe in (low, high)]
    return energy[0] + np.where(other[:, None], energy[1], 0)
