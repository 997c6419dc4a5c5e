"""Where a fit puts the box of a grid or field: around the visual hull, or where the cameras look."""

import numpy as np
import pytest

import tidr
from tidr.fitting.settings import StartSettings
from tidr.fitting.start_box import begin_box, focus_box, hull_box


def ball_masks(cameras, centre, radius: float, size: int = 48) -> np.ndarray:
    """Silhouettes [N, size, size] of a ball, by the distance of each pixel's ray to its centre."""
    masks = []
    for camera in cameras:
        matrix, _ = camera.projection(size, size)
        rows, columns = np.mgrid[:size, :size] + 0.5
        far = np.stack([columns * 9, rows * 9, np.full_like(rows, 9.0), np.full_like(rows, 9.0)], -1)
        points = (far - matrix[:, 3]) @ np.linalg.pinv(matrix[:, :3]).T
        origin = camera.camera_to_world[:3, 3]
        directions = points - origin
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        away = centre - origin
        closest = away - (directions @ away)[..., None] * directions
        masks.append((np.linalg.norm(closest, axis=-1) < radius).astype(float))
    return np.stack(masks)


def cameras_around(target, count: int = 8) -> list[tidr.Camera]:
    return tidr.sphere_views(count, 4.0, target, fov_y_degrees=40, width=48, height=48)


def test_the_box_is_tight_around_the_hull(f64):
    centre = np.array([0.4, -0.2, 0.3])
    cameras = cameras_around((0, 0, 0))
    lower, upper = hull_box(cameras, ball_masks(cameras, centre, 0.5))
    assert (lower < centre - 0.5).all()
    assert (upper > centre + 0.5).all()
    assert ((upper - lower) < 1.45).all()


def test_without_masks_the_box_lies_where_the_cameras_look(f64):
    lower, upper = focus_box(cameras_around((1.0, 2.0, 3.0)))
    assert np.allclose((lower + upper) / 2, (1, 2, 3), atol=1e-6)
    assert np.allclose(upper - lower, 4.0, atol=1e-6)


def test_views_that_tell_no_place_are_refused(f64):
    one = cameras_around((0, 0, 0), 1)
    with pytest.raises(tidr.SceneError, match="masks do not tell"):
        hull_box(one, np.ones((1, 8, 8)))
    with pytest.raises(tidr.SceneError, match="cameras do not tell"):
        focus_box(one * 2)


def test_points_and_gaussians_fill_the_box(f64):
    scene, rng = tidr.Scene(tidr.Film(48, 48)), np.random.default_rng(0)
    places = rng.uniform(-1, 1, (500, 3))
    scene.add_node("dots", tidr.Node(tidr.PointCloud(places, radii=0.1), scale=2.0, translation=(1, 0, 0)))
    scene.add_node("fog", tidr.Node(tidr.Gaussians.from_colors(places, np.full((500, 3), 0.5), 0.1)))
    scene.add_node("one", tidr.Node(tidr.PointCloud(places[:1])))
    cameras, centre = cameras_around((0, 0, 0)), np.array([0.4, -0.2, 0.3])
    masks = ball_masks(cameras, centre, 0.5)
    lower, upper = hull_box(cameras, masks)
    for name in scene.nodes:
        begin_box(scene, name, StartSettings(shape="box"), cameras, list(masks))
    dots, fog = scene["dots"].geometry, scene["fog"].geometry
    for found in (dots.positions.numpy() * 2 + [1, 0, 0], fog.means.numpy()):
        np.testing.assert_allclose([found.min(0), found.max(0)], [lower, upper], atol=1e-9)
        ranks = found.argsort(0), places.argsort(0)
        assert np.array_equal(*ranks)  # stretched, not drawn anew
    factor = np.prod((upper - lower) / np.ptp(places, axis=0)) ** (1 / 3)
    np.testing.assert_allclose(dots.radii.numpy(), 0.1 * factor / 2)
    np.testing.assert_allclose(fog.scales(), 0.1 * factor)
    np.testing.assert_allclose(scene["one"].geometry.positions.numpy()[0], (lower + upper) / 2)
