"""Rays through lenses and by mirrors: closed forms of optics, and adjoints against differences."""

import numpy as np
import pytest
import taichi as ti

from tidr.array import Array
from tidr.kernels.transport import specular

A2 = ti.types.ndarray(ndim=2)
INTERSECT, FACE, SHADING, REFLECT, REFRACT, INTERFACE, LENS = range(7)
SIZES = {INTERSECT: (15, 6), FACE: (9, 3), SHADING: (11, 3), REFLECT: (6, 3), REFRACT: (7, 3), INTERFACE: (7, 4)}
SIZES[LENS] = (6 + 9 + 9 + 9 + 9 + 1, 6)


@ti.func
def three(x: ti.template(), row, first: ti.template()):
    return ti.Vector([x[row, first], x[row, first + 1], x[row, first + 2]])


@ti.func
def put(out: ti.template(), row, first: ti.template(), v):
    for k in ti.static(range(3)):
        out[row, first + k] = v[k]


@ti.func
def flight(x: ti.template(), row):
    """A photon that enters a body by a smooth face, is reflected at a flat one, and lands on a third.

    x: origin, direction, corners and corner normals of the first, corners of the second, of the third, and the index.
    Returns all that the adjoint needs.
    """
    o, d, ior = three(x, row, 0), three(x, row, 3), x[row, 42]
    x1, _t1, b1, b2 = specular.intersect(o, d, three(x, row, 6), three(x, row, 9), three(x, row, 12))
    n1 = specular.shading_normal(b1, b2, three(x, row, 15), three(x, row, 18), three(x, row, 21))
    facing, eta, side = specular.interface(d, n1, ior)
    d1, _passes = specular.refract(d, facing, eta)
    x2, _t2, _b1, _b2 = specular.intersect(x1, d1, three(x, row, 24), three(x, row, 27), three(x, row, 30))
    n2 = specular.face_normal(three(x, row, 24), three(x, row, 27), three(x, row, 30))
    d2 = specular.reflect(d1, n2)
    x3, _t3, _c1, _c2 = specular.intersect(x2, d2, three(x, row, 33), three(x, row, 36), three(x, row, 39))
    return x1, b1, b2, facing, eta, side, d1, x2, n2, d2, x3


@ti.kernel
def forward(case: ti.template(), x: A2, out: A2):
    for row in range(x.shape[0]):
        a, b, c = three(x, row, 0), three(x, row, 3), ti.Vector([0.0, 0.0, 0.0])
        if ti.static(case == INTERSECT):
            at, t, b1, b2 = specular.intersect(a, b, three(x, row, 6), three(x, row, 9), three(x, row, 12))
            put(out, row, 0, at)
            put(out, row, 3, ti.Vector([t, b1, b2]))
        if ti.static(case == FACE):
            put(out, row, 0, specular.face_normal(a, b, three(x, row, 6)))
        if ti.static(case == SHADING):
            n = specular.shading_normal(x[row, 0], x[row, 1], three(x, row, 2), three(x, row, 5), three(x, row, 8))
            put(out, row, 0, n)
        if ti.static(case == REFLECT):
            put(out, row, 0, specular.reflect(a, b))
        if ti.static(case == REFRACT):
            c, _passes = specular.refract(a, b, x[row, 6])
            put(out, row, 0, c)
        if ti.static(case == INTERFACE):
            c, eta, _side = specular.interface(a, b, x[row, 6])
            put(out, row, 0, c)
            out[row, 3] = eta
        if ti.static(case == LENS):
            _x1, _b1, _b2, _facing, _eta, _side, _d1, _x2, _n2, d2, x3 = flight(x, row)
            put(out, row, 0, x3)
            put(out, row, 3, d2)


@ti.kernel
def lens_adjoint(x: A2, g: A2, grad: A2):
    for row in range(x.shape[0]):
        d, zero = three(x, row, 3), ti.Vector([0.0, 0.0, 0.0])
        x1, b1, b2, facing, eta, side, d1, x2, n2, d2, _x3 = flight(x, row)
        v0, v1, v2 = three(x, row, 33), three(x, row, 36), three(x, row, 39)
        to_x2, to_d2, g0, g1, g2 = specular.intersect_adjoint(x2, d2, v0, v1, v2, three(g, row, 0), 0.0, 0.0, 0.0)
        put(grad, row, 33, g0)
        put(grad, row, 36, g1)
        put(grad, row, 39, g2)
        to_d1, to_n2 = specular.reflect_adjoint(d1, n2, to_d2 + three(g, row, 3))
        v0, v1, v2 = three(x, row, 24), three(x, row, 27), three(x, row, 30)
        f0, f1, f2 = specular.face_normal_adjoint(v0, v1, v2, to_n2)
        to_x1, more_d1, g0, g1, g2 = specular.intersect_adjoint(x1, d1, v0, v1, v2, to_x2, 0.0, 0.0, 0.0)
        put(grad, row, 24, f0 + g0)
        put(grad, row, 27, f1 + g1)
        put(grad, row, 30, f2 + g2)
        to_d, to_facing, to_eta = specular.refract_adjoint(d, facing, eta, to_d1 + more_d1)
        to_n1, to_ior = specular.interface_adjoint(x[row, 42], side, to_facing, to_eta)
        grad[row, 42] = to_ior
        to_b1, to_b2, m0, m1, m2 = specular.shading_normal_adjoint(
            b1, b2, three(x, row, 15), three(x, row, 18), three(x, row, 21), to_n1
        )
        put(grad, row, 15, m0)
        put(grad, row, 18, m1)
        put(grad, row, 21, m2)
        to_o, more_d, g0, g1, g2 = specular.intersect_adjoint(
            three(x, row, 0), d, three(x, row, 6), three(x, row, 9), three(x, row, 12), to_x1 + zero, 0.0, to_b1, to_b2
        )
        put(grad, row, 0, to_o)
        put(grad, row, 3, to_d + more_d)
        put(grad, row, 6, g0)
        put(grad, row, 9, g1)
        put(grad, row, 12, g2)


@ti.kernel
def adjoint(case: ti.template(), x: A2, g: A2, grad: A2):
    for row in range(x.shape[0]):
        a, b, gradient = three(x, row, 0), three(x, row, 3), three(g, row, 0)
        if ti.static(case == INTERSECT):
            o, d, v0, v1, v2 = specular.intersect_adjoint(
                a, b, three(x, row, 6), three(x, row, 9), three(x, row, 12), gradient, g[row, 3], g[row, 4], g[row, 5]
            )
            put(grad, row, 0, o)
            put(grad, row, 3, d)
            put(grad, row, 6, v0)
            put(grad, row, 9, v1)
            put(grad, row, 12, v2)
        if ti.static(case == FACE):
            v0, v1, v2 = specular.face_normal_adjoint(a, b, three(x, row, 6), gradient)
            put(grad, row, 0, v0)
            put(grad, row, 3, v1)
            put(grad, row, 6, v2)
        if ti.static(case == SHADING):
            b1, b2, n0, n1, n2 = specular.shading_normal_adjoint(
                x[row, 0], x[row, 1], three(x, row, 2), three(x, row, 5), three(x, row, 8), gradient
            )
            grad[row, 0] = b1
            grad[row, 1] = b2
            put(grad, row, 2, n0)
            put(grad, row, 5, n1)
            put(grad, row, 8, n2)
        if ti.static(case == REFLECT):
            d, n = specular.reflect_adjoint(a, b, gradient)
            put(grad, row, 0, d)
            put(grad, row, 3, n)
        if ti.static(case == REFRACT):
            d, n, eta = specular.refract_adjoint(a, b, x[row, 6], gradient)
            put(grad, row, 0, d)
            put(grad, row, 3, n)
            grad[row, 6] = eta
        if ti.static(case == INTERFACE):
            _n, _eta, side = specular.interface(a, b, x[row, 6])
            n, ior = specular.interface_adjoint(x[row, 6], side, gradient, g[row, 3])
            put(grad, row, 0, a * 0.0)
            put(grad, row, 3, n)
            grad[row, 6] = ior


def apply(case: int, x) -> np.ndarray:
    given, out = Array.of(x), Array((len(x), SIZES[case][1]))
    forward(case, given.value, out.value)
    return out.numpy().astype(float)


def pull_back(case: int, x, g) -> np.ndarray:
    given, weights, out = Array.of(x), Array.of(g), Array(np.shape(x))
    if case == LENS:
        lens_adjoint(given.value, weights.value, out.value)
    else:
        adjoint(case, given.value, weights.value, out.value)
    return out.numpy().astype(float)


def triangle(rng, height: float, size: float = 1.0) -> np.ndarray:
    """[9] corners around the z axis, counter-clockwise from above, at about a height."""
    turn = 2 * np.pi * (np.arange(3) + rng.uniform(-0.1, 0.1, 3)) / 3
    return np.stack([size * np.cos(turn), size * np.sin(turn), height + rng.uniform(-0.1, 0.1, 3)], 1).reshape(-1)


def inputs(case: int, rng) -> np.ndarray:
    """[SIZES[case][0]] numbers for which nothing is degenerate."""
    down, up = np.array([0, 0, -1.0]), np.array([0, 0, 1.0])
    d = down + 0.3 * rng.normal(size=3)
    d /= np.linalg.norm(d)
    n = up + 0.2 * rng.normal(size=3)
    n /= np.linalg.norm(n)
    if case == INTERSECT:
        return np.concatenate([up + 0.1 * rng.normal(size=3), d * rng.uniform(0.5, 2), triangle(rng, 0.0)])
    if case == FACE:
        return rng.normal(size=9)
    if case == SHADING:
        normals = (up + 0.3 * rng.normal(size=(3, 3))) * rng.uniform(0.5, 2, (3, 1))
        return np.concatenate([rng.uniform(0.1, 0.4, 2), normals.reshape(-1)])
    if case == REFLECT:
        return np.concatenate([d, n])
    if case == REFRACT:
        return np.concatenate([d, n, rng.uniform(0.5, 0.9, 1)])
    if case == INTERFACE:
        return np.concatenate([d, rng.choice([-1, 1]) * n, rng.uniform(1.2, 1.8, 1)])
    normals = (up + 0.2 * rng.normal(size=(3, 3))) * rng.uniform(0.5, 2, (3, 1))
    parts = [up + 0.1 * rng.normal(size=3), d, triangle(rng, 0.0), normals.reshape(-1), triangle(rng, -1.0, 3.0)]
    return np.concatenate([*parts, triangle(rng, 1.5, 4.0), rng.uniform(1.3, 1.7, 1)])


@pytest.mark.parametrize("case", SIZES)
def test_adjoints_equal_differences(case, f64):
    """Every input of every function, and of a whole path: refracted, reflected, landed."""
    rng = np.random.default_rng(case)
    x = np.stack([inputs(case, rng) for _ in range(8)])
    g = rng.normal(size=(8, SIZES[case][1]))
    found = pull_back(case, x, g)
    for k in range(x.shape[1]):
        differences = []
        for step in (2e-5, 1e-5):
            move = np.zeros(x.shape[1])
            move[k] = step
            differences.append(((apply(case, x + move) - apply(case, x - move)) * g).sum(1) / (2 * step))
        measured = (4 * differences[1] - differences[0]) / 3
        scale = np.maximum(np.abs(measured), 1e-3 * np.abs(found).max(1))
        assert (np.abs(found[:, k] - measured) <= 1e-5 * scale).all(), (case, k)


def values_and_gradients(case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(100 + case)
    x = np.stack([inputs(case, rng) for _ in range(8)]).astype(np.float32)
    return apply(case, x), pull_back(case, x, rng.normal(size=(8, SIZES[case][1])).astype(np.float32))


@pytest.fixture
def exact(f64) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    return {case: values_and_gradients(case) for case in SIZES}


def test_f32_equals_f64(exact, vulkan):
    for case, (value, gradient) in exact.items():
        found, slopes = values_and_gradients(case)
        assert np.allclose(found, value, rtol=1e-4, atol=1e-5), case
        assert np.allclose(slopes, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max()), case


def test_a_hit_lies_on_the_triangle_and_on_the_ray(f64):
    rng = np.random.default_rng(1)
    x = np.stack([inputs(INTERSECT, rng) for _ in range(20)])
    out = apply(INTERSECT, x)
    at, t, b1, b2 = out[:, :3], *(out[:, k, None] for k in (3, 4, 5))
    assert np.allclose(at, x[:, :3] + t * x[:, 3:6], rtol=1e-13)
    assert np.allclose(at, (1 - b1 - b2) * x[:, 6:9] + b1 * x[:, 9:12] + b2 * x[:, 12:15], atol=1e-12)
    assert (t > 0).all()


@pytest.mark.row(54)
def test_snell(backend):
    """Angles, the same from within, and d theta_t / d eta = -tan theta_t / eta for eta = n_t / n_i: -.356348 rad."""
    ior, angle = 1.5, np.pi / 4
    d = np.array([np.sin(angle), 0, -np.cos(angle)])
    x = np.concatenate([d, [0, 0, 1], [1 / ior]])[None]
    out = apply(REFRACT, x)[0]
    inside = np.arcsin(np.sin(angle) / ior)
    assert np.allclose(out, [np.sin(inside), 0, -np.cos(inside)], atol=1e-6)
    back = apply(REFRACT, np.concatenate([out, [0, 0, 1], [ior]])[None])[0]
    assert np.allclose(back, d, atol=1e-6)
    # theta_t = atan2(x, -z): its gradient, and eta here is 1 / ior.
    to_angle = np.array([[np.cos(inside), 0, np.sin(inside)]])
    slope = pull_back(REFRACT, x, to_angle)[0, 6] * -1 / ior**2
    assert slope == pytest.approx(-np.tan(inside) / ior, rel=1e-5)
    assert slope == pytest.approx(-0.356348, abs=1e-6 if backend.precision == 64 else 1e-5)


@pytest.mark.row(54)
def test_the_spot_of_a_plano_convex_lens(f64):
    """Rays along the axis, at height y, leave glass by a sphere of radius R: x(z) = y (1 - z (ior - 1) / R), dx/d ior =
    -y z / R, both within 1 % near the axis."""
    sphere, height, reach = 2.0, 0.06, 1.0
    corners = np.array([[0.1 + height, 0.0], [height - 0.1, 0.1], [height - 0.1, -0.1]])
    depth = sphere - np.sqrt(sphere**2 - (corners**2).sum(1))  # of the sphere behind its lowest point
    normals = np.stack([corners[:, 0] / sphere, corners[:, 1] / sphere, (depth - sphere) / sphere], 1)
    surface = np.stack([corners[:, 0], corners[:, 1], depth], 1)
    mirror = np.array([[9.0, 0, -reach], [-9, 9, -reach], [-9, -9, -reach]])
    screen = mirror + np.array([0, 0, reach / 2])  # after the mirror, half the way back
    parts = [[height, 0, 1.0], [0, 0, -1.0], surface.reshape(-1), normals.reshape(-1), mirror.reshape(-1)]
    ior = 1.5
    x = np.concatenate([*parts, screen.reshape(-1), [ior]])[None]
    way = 1.5 * reach + depth.mean()
    spot = apply(LENS, x)[0, 0]
    assert spot - height == pytest.approx(-height * way * (ior - 1) / sphere, rel=0.01)
    slope = pull_back(LENS, x, [[1.0, 0, 0, 0, 0, 0]])[0, 42]
    assert slope == pytest.approx(-height * way / sphere, rel=0.01)


def test_total_reflection_gives_no_refracted_ray_and_no_gradient(backend):
    angle = np.arcsin(1 / 1.5)
    rows = []
    for shift in (-0.05, 0.05):
        rows.append(np.concatenate([[np.sin(angle + shift), 0, -np.cos(angle + shift)], [0, 0, 1], [1.5]]))
    out, gradient = apply(REFRACT, np.stack(rows)), pull_back(REFRACT, np.stack(rows), np.ones((2, 3)))
    assert np.linalg.norm(out[0]) == pytest.approx(1.0, abs=1e-5)
    assert gradient[0].any()
    assert not out[1].any()
    assert not gradient[1].any()


def test_what_has_no_area_or_direction_stays_finite(backend):
    flat = np.concatenate([[0, 0, 1.0], [0, 0, -1.0], np.tile([1.0, 2, 3], 3)])
    along = np.concatenate([[0, 0, 1.0], [1.0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0]])
    for case, rows in ((INTERSECT, np.stack([flat, along])), (FACE, np.ones((1, 9))), (SHADING, np.zeros((1, 11)))):
        assert np.isfinite(apply(case, rows)).all()
        assert not apply(case, rows)[:, 3:].any()
        assert np.isfinite(pull_back(case, rows, np.ones((len(rows), SIZES[case][1])))).all()
