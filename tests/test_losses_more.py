"""Losses of points and meshes, flattening, total variation and features of pictures: closed forms and differences."""

import numpy as np
import pytest

import tidr
from tidr import losses
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.features import RandomFeatures

from .gradients import directional_check, tape_gradients


def bumpy(seed=0) -> tidr.Mesh:
    vertices, faces = tidr.icosphere(2)
    return tidr.Mesh(vertices * np.random.default_rng(seed).uniform(0.8, 1.2, (len(vertices), 1)), faces)


def gap_to(point, mesh) -> np.ndarray:
    """From the nearest place on the triangles to a point, by trying edges and insides of all."""
    found = np.full(3, np.inf)
    for a, b, c in mesh.vertices.numpy().astype(np.float64)[mesh.faces]:
        solved = np.linalg.lstsq(np.stack([b - a, c - a], 1), point - a, rcond=None)[0]
        places = [a + solved @ [b - a, c - a]] if solved.min() >= 0 and solved.sum() <= 1 else []
        for p, q in ((a, b), (b, c), (c, a)):
            places.append(p + np.clip((point - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1) * (q - p))
        found = min(found, *(point - place for place in places), key=lambda gap: gap @ gap)
    return found


@pytest.mark.row(147, 151)
def test_the_checklists_distances(f64):
    p, q = np.zeros((1, 3)), np.array([[1.0, 0, 0], [0, 2, 0]])
    assert [float(one) for one in (losses.chamfer(p, q), losses.directed(p, q), losses.directed(q, p))] == [3.5, 1, 2.5]


@pytest.mark.row(151)
@pytest.mark.parametrize("backend", ["cpu-f64", "vulkan-f32"], indirect=True)
def test_point_to_mesh(backend):
    """The nearest place is that of a search through all triangles; gradients reach points and vertices."""
    mesh, rng = bumpy(), np.random.default_rng(1)
    points = Array.of(np.concatenate([rng.normal(size=(30, 3)), mesh.vertices.numpy()[:3] * 1.3, [[9.0, 0.1, 0.2]]]))
    gaps = np.stack([gap_to(point, mesh) for point in points.numpy().astype(np.float64)])
    tolerance = 1e-10 if backend.precision == 64 else 1e-4
    assert float(losses.point_to_mesh(points, mesh)) == pytest.approx((gaps**2).sum(1).mean(), rel=tolerance)
    parameter = tidr.Parameter(points.numpy())
    to_points, to_vertices = tape_gradients(lambda: losses.point_to_mesh(parameter, mesh), [parameter, mesh.vertices])
    np.testing.assert_allclose(to_points, 2 / len(gaps) * gaps, atol=tolerance)
    np.testing.assert_allclose(to_vertices.sum(0), -to_points.sum(0), atol=tolerance)
    if backend.precision == 64:
        directional_check(lambda: losses.point_to_mesh(parameter, mesh), [parameter, mesh.vertices], backend)
    inside = losses.point_to_mesh(np.zeros((1, 3)), tidr.Mesh(np.eye(3), np.array([[0, 1, 2]])))
    assert float(inside) == pytest.approx(1 / 3, rel=1e-6)
    with pytest.raises(SceneError, match="pass a mesh"):
        losses.point_to_mesh(points, np.zeros((3, 3)))


@pytest.mark.parametrize("backend", ["cpu-f64", "vulkan-f32"], indirect=True)
def test_flatten_and_total_variation(backend):
    """A cube's 12 right angles count 1 each and its 6 diagonals 0; a step of height h over n rows is n h."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    assert float(losses.flatten(tidr.Mesh(corners, faces))) == pytest.approx(12, rel=1e-6)
    mesh, rng = bumpy(3), np.random.default_rng(0)
    directional_check(lambda: losses.flatten(mesh), [mesh.vertices], backend)
    step = np.zeros((2, 5, 6, 3))
    step[..., 3:, :] = 2.0
    assert float(losses.total_variation(Array.of(step), softness=1e-12)) == pytest.approx(2 * 5 / 30, rel=1e-4)
    picture = tidr.Parameter(rng.normal(size=(2, 5, 6, 3)))
    directional_check(lambda: losses.total_variation(picture, 1e-2), [picture], backend)


def test_perceptual(f64):
    """Differences, with the built-in bank and a user's own features; style knows no places."""
    rng = np.random.default_rng(0)
    target, picture = rng.uniform(size=(2, 9, 10, 3)), tidr.Parameter(rng.uniform(size=(2, 9, 10, 3)))

    def check(features):
        (gradient,) = directional_check(lambda: losses.perceptual(picture, target, features), [picture], f64)
        assert gradient.any()

    check(None)
    check(RandomFeatures(layers=2, channels=5, content=False, style=2.0))

    def rows(pictures):
        return (
            [pictures.mean(1), pictures[..., :1] ** 2],
            lambda given: (
                np.repeat(given[0][:, None], 9, 1) / 9
                + np.pad(2 * pictures[..., :1] * given[1], ((0, 0),) * 3 + ((0, 2),))
            ),
        )

    check(rows)
    expected = ((picture.numpy().mean(1) - target.mean(1)) ** 2).mean() / 2
    expected += ((picture.numpy()[..., 0] ** 2 - target[..., 0] ** 2) ** 2).mean() / 2
    assert float(losses.perceptual(picture, target, rows)) == pytest.approx(expected)
    turned = Array.of(np.roll(target, 4, axis=2))
    style = RandomFeatures(layers=1, content=False)
    assert float(losses.perceptual(turned, target, style)) < 0.1 * float(losses.perceptual(turned, target))
    with pytest.raises(SceneError, match="takes no mask"):
        losses.perceptual(picture, target, mask=np.ones((2, 9, 10)))


def test_features_mind_a_shift_less_than_pixels():
    """Beside what another picture of the kind is away, a texture shifted by a pixel is much nearer than in squares."""
    rng = np.random.default_rng(4)
    wide, other = rng.uniform(size=(1, 32, 33, 3)), rng.uniform(size=(1, 32, 32, 3))
    target, shifted = wide[:, :, :-1], wide[:, :, 1:]

    def share(features) -> float:
        first, near, far = (features(one)[0] for one in (target, shifted, other))
        gaps = [[((a - b) ** 2).mean() for a, b in zip(first, seen, strict=True)] for seen in (near, far)]
        return sum(gaps[0]) / sum(gaps[1])

    assert share(lambda pictures: ([pictures], None)) > 0.9
    assert share(RandomFeatures(style=0)) < 0.7
    assert share(RandomFeatures(content=False)) < 0.5
