"""Lights: what points see of them, and gradients back to direction, position and value."""

import numpy as np
import pytest

from tidr.buffer import Buffer
from tidr.kernels.shading import brdf, lights, shade

from .test_shading import download, fill, get_buffer, ints, lit_points, upload

AMBIENT = pytest.param(shade.AMBIENT, id="ambient", marks=pytest.mark.row(141))
DIRECTIONAL = pytest.param(shade.DIRECTIONAL, id="directional", marks=pytest.mark.row(140))
POINT = pytest.param(shade.POINT, id="point", marks=pytest.mark.row(139))

GEOMETRY = np.array([[-0.5, 0.7, -2.0]])
VALUE = np.array([[1.5, 1.0, 0.5]])


class Lamp:
    """A light's arrays on the device."""

    def __init__(self, kind: int, geometry, value, backend, chunks: int = 3) -> None:
        self.kind, self.real = kind, np.float64 if backend.precision == 64 else np.float32
        self._buffers = [Buffer((1, 3)) for _ in range(4)]
        self.geometry, self.geometry_grad, self.value, self.value_grad = (b.ndarray for b in self._buffers)
        self._part = Buffer((chunks, 6))
        self.set(geometry, value)

    def set(self, geometry, value) -> None:
        self.geometry.from_numpy(np.asarray(geometry, self.real))
        self.value.from_numpy(np.asarray(value, self.real))

    def gather(self, b, n: int) -> None:
        geometry = None if self.kind == shade.AMBIENT else self.geometry
        lights.gather_light(b, n, self.kind, geometry, self.value)

    def adjoint(self, b, n: int, start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        self.geometry_grad.fill(start)
        self.value_grad.fill(start)
        named = (None, None) if self.kind == shade.AMBIENT else (self.geometry, self.geometry_grad)
        lights.gather_light_adjoint(b, n, self.kind, *named, self.value_grad, self._part.ndarray)
        return self.geometry_grad.to_numpy().astype(float), self.value_grad.to_numpy().astype(float)


@pytest.mark.parametrize("kind", [AMBIENT, DIRECTIONAL, POINT])
def test_points_see_the_light(f64, kind):
    n = 50
    b, positions = get_buffer(n), np.random.default_rng(0).normal(size=(n, 3))
    upload(b.position, positions)
    Lamp(kind, GEOMETRY, VALUE, f64).gather(b, n)
    unit = GEOMETRY / np.linalg.norm(GEOMETRY)
    expected = {
        shade.AMBIENT: 0 * positions,
        shade.DIRECTIONAL: -unit + 0 * positions,
        shade.POINT: GEOMETRY - positions,
    }
    assert np.allclose(download(b.light_vector, n), expected[kind], atol=1e-6)
    assert np.allclose(download(b.light_value, n), VALUE)


@pytest.mark.parametrize("kind", [AMBIENT, DIRECTIONAL, POINT])
def test_gradient_through_shading_equals_differences(backend, kind):
    n, kernel = 300, shade.shade_kernel(brdf.metallic_roughness, brdf.ambient_metallic_roughness)
    rng = np.random.default_rng(kind)
    b, family, weights = get_buffer(n), ints([0]), rng.uniform(0.5, 1.5, (n, 3)) / n
    geometry = np.array([[-0.5, 0.7, 3.0]]) if kind == shade.POINT else GEOMETRY
    positions = rng.uniform(-0.3, 0.3, (n, 3))
    lamp = Lamp(kind, geometry, VALUE, backend)
    columns = lit_points(n, 5)
    fill(b, columns)
    upload(b.material, np.zeros(n, np.int32))

    def loss(geometry=geometry, value=VALUE, positions=positions):
        lamp.set(geometry, value)
        upload(b.position, positions)
        lamp.gather(b, n)
        b.clear_color(n)
        kernel(b, n, family.ndarray, 0, kind)
        return float((download(b.color, n) * weights).sum())

    loss()
    b.clear_grads(n)
    upload(b.color.grad, weights)
    kernel.grad(b, n, family.ndarray, 0, kind)
    to_geometry, to_value = lamp.adjoint(b, n)
    to_positions = download(b.position.grad, n)
    assert not download(b.light_vector.grad, n).any()
    assert not download(b.light_value.grad, n).any()

    for name, start, gradient in (
        ("geometry", geometry, to_geometry),
        ("value", VALUE, to_value),
        ("positions", positions, to_positions),
    ):
        if (name == "geometry" and kind == shade.AMBIENT) or (name == "positions" and kind != shade.POINT):
            assert not gradient.any()
            continue
        largest = np.linalg.norm(gradient)
        directions = np.eye(3)[:, None] if start.shape == (1, 3) else rng.choice([-1.0, 1.0], (3, n, 3))
        for direction in directions:
            h = backend.step
            slope = (loss(**{name: start + h * direction}) - loss(**{name: start - h * direction})) / (2 * h)
            floor = 1e-2 * largest if backend.precision == 64 else 2e-1 * largest
            assert abs((gradient * direction).sum() - slope) <= backend.rtol * max(abs(slope), floor), name
            loss()


@pytest.mark.parametrize("kind", [AMBIENT, DIRECTIONAL, POINT])
def test_gradients_add_up_the_same_every_time(backend, kind):
    n = 4001
    rng = np.random.default_rng(2)
    b, lamp = get_buffer(n), Lamp(kind, GEOMETRY, VALUE, backend, chunks=7)
    seen = []
    for start in (0.0, 0.0, 5.0):
        rng = np.random.default_rng(2)
        upload(b.light_vector.grad, rng.normal(size=(n, 3)))
        upload(b.light_value.grad, rng.normal(size=(n, 3)))
        seen.append(np.concatenate(lamp.adjoint(b, n, start)))
    assert np.array_equal(seen[0], seen[1])
    if kind != shade.AMBIENT:
        assert np.allclose(seen[2][0] - 5, seen[0][0], atol=1e-4)
    assert np.allclose(seen[2][1] - 5, seen[0][1], atol=1e-4)


@pytest.mark.row(140)
def test_length_of_a_direction_has_no_effect(f64):
    n = 20
    b, upstream = get_buffer(n), np.random.default_rng(4).normal(size=(n, 3))
    for length in (1.0, 10.0):
        lamp = Lamp(shade.DIRECTIONAL, length * GEOMETRY, VALUE, f64)
        lamp.gather(b, n)
        assert np.allclose(np.linalg.norm(download(b.light_vector, n), axis=1), 1, atol=1e-6)
        upload(b.light_vector.grad, upstream)
        assert abs((lamp.adjoint(b, n)[0] * GEOMETRY).sum()) < 1e-5
    zero = Lamp(shade.DIRECTIONAL, 0 * GEOMETRY, VALUE, f64)
    zero.gather(b, n)
    upload(b.light_vector.grad, upstream)
    assert not zero.adjoint(b, n)[0].any()
