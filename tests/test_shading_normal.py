"""Shading normals that disagree with their face: on the viewer's side, continuous, with the slopes of differences."""

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr.kernels.transport import shading_normal
from tidr.renderers.photons import PhotonMapper

from .gradients import directional_check, weighted
from .path_scenes import rim

A2 = ti.types.ndarray(ndim=2)


@ti.func
def row(values: ti.template(), i, k: ti.template()):
    return ti.Vector([values[i, 3 * k], values[i, 3 * k + 1], values[i, 3 * k + 2]])


@ti.kernel
def both(x: A2, out: A2):
    """x [N, 12]: n, w, cross, weights. out [N, 16]: leaning and log(horizon) along w, gradients to n, w, cross."""
    for i in range(x.shape[0]):
        n, w, cross, g = row(x, i, 0), row(x, i, 1), row(x, i, 2), row(x, i, 3)
        leaning, share = shading_normal.leaning(n, w, cross), shading_normal.horizon(n, cross, w)
        to_n, to_w, to_cross = shading_normal.leaning_adjoint(n, w, cross, g)
        by_n, by_cross, by_w = shading_normal.horizon_adjoint(n, cross, w, g.x)
        for c in ti.static(range(3)):
            out[i, c], out[i, 4 + c], out[i, 7 + c], out[i, 10 + c] = leaning[c], to_n[c], to_w[c], to_cross[c]
            out[i, 13 + c], out[i, 16 + c], out[i, 19 + c] = by_n[c], by_w[c], by_cross[c]
        out[i, 3] = share


def found(x: np.ndarray) -> np.ndarray:
    out = np.zeros((len(x), 22))
    both(np.ascontiguousarray(x), out)
    return out


def situations(n: int) -> np.ndarray:
    """Faces seen at all angles, with normals up to 60 degrees off them; every fourth from behind."""
    rng = np.random.default_rng(0)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    face, w = unit(rng.normal(size=(n, 3))), unit(rng.normal(size=(n, 3)))
    w *= np.sign((face * w).sum(1, keepdims=True)) * np.where(np.arange(n) % 4, 1, -1)[:, None]
    normal = unit(face + rng.uniform(0, 1, (n, 1)) * unit(rng.normal(size=(n, 3))))
    normal[: n // 4] = unit(normal[: n // 4] - w[: n // 4] * (w * normal).sum(1, keepdims=True)[: n // 4] * 0.98)
    return np.concatenate([normal, w, face * rng.uniform(0.2, 2, (n, 1)), rng.normal(size=(n, 3))], 1)


def test_a_normal_leans_to_the_viewers_side_and_one_that_is_there_stays(f64):
    x = situations(4000)
    n, w, cross = x[:, :3], x[:, 3:6], x[:, 6:9]
    leaning, share = found(x)[:, :3], found(x)[:, 3]
    side = np.sign((cross * w).sum(1))
    before, after = side * (n * w).sum(1), side * (leaning * w).sum(1)
    assert (before < 0).mean() > 0.05
    assert after.min() > 0
    assert np.linalg.norm(leaning, axis=1) == pytest.approx(1)
    assert (leaning[before > shading_normal.LEAST] == n[before > shading_normal.LEAST]).all()
    assert (share <= 1).all()
    flat = x.copy()
    flat[:, 6:9] = flat[:, :3] * np.linalg.norm(cross, axis=1, keepdims=True)
    assert found(flat)[:, :3] == pytest.approx(flat[:, :3], abs=1e-14)
    assert found(flat)[:, 3] == pytest.approx(1, abs=1e-14)


def test_light_along_a_face_does_not_count(f64):
    x = situations(400)
    n, cross = x[:, :3], x[:, 6:9]
    along = np.cross(cross, x[:, 9:])
    x[:, 3:6] = along / np.linalg.norm(along, axis=1, keepdims=True)
    assert found(x)[:, 3].max() < 1e-6
    assert (np.abs((n * x[:, 3:6]).sum(1)) > 0.1).any()


def test_gradients_are_those_of_differences(f64):
    x = situations(2000)
    step = 1e-6 * np.random.default_rng(1).normal(size=x.shape) * np.repeat([1, 1, 1, 0], 3)
    step[:, 3:6] -= x[:, 3:6] * (x[:, 3:6] * step[:, 3:6]).sum(1, keepdims=True)
    here, above, below = found(x), found(x + step), found(x - step)
    lean = ((above[:, :3] - below[:, :3]) * x[:, 9:]).sum(1)
    share = x[:, 9] * (above[:, 3] - below[:, 3])
    for difference, first, scale in ((lean, 4, 1.0), (share, 13, here[:, 3])):
        exact = 2 * scale * (here[:, first : first + 9] * step[:, :9]).sum(1)
        assert (np.abs(exact) > 1e-7).mean() > 0.02
        assert np.abs(exact - difference).max() < 1e-5 * np.abs(difference).max()


def test_photon_mapping_has_light_and_exact_gradients_on_a_rim(f64):
    """Where paths from the camera end; hardly any light there is from photons."""
    scene, weights = rim(), np.random.default_rng(0).normal(size=(12, 12, 3))
    mapper = PhotonMapper(photons=500, passes=2, radius=0.05, aimed=0.0, max_depth=3, independent_gradient=False)

    def drawn():
        return tidr.render(scene, renderer=mapper, width=12, height=12).rgb

    assert drawn().numpy().min() > 0.1 * drawn().numpy().max()
    parameters = scene.parameters("ball.vertices", "lamp.position", "front.position")
    directional_check(lambda: weighted(drawn(), weights), list(parameters.values()), f64)
