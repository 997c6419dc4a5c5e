"""Screen-space ambient occlusion: its formula, what it darkens; test_shadow_maps.py has its gradient."""

import numpy as np
import pytest

import tidr

from .test_shadow_maps import plate

RADIUS = 0.5
AROUND = tidr.Rasterizer(edges="none", channels=("rgb",), ambient_occlusion=RADIUS)


def ball_on_floor(size: int = 24) -> tidr.Scene:
    """A ball that touches a floor, under ambient light and a faint sun."""
    scene = tidr.Scene(tidr.Film(size, size))
    vertices, faces = tidr.icosphere(2)
    scene.add_node("ball", tidr.Node(tidr.Mesh(0.4 * vertices, faces, shading="smooth"), (), None, (0, 0.41, 0)))
    scene.add_node("floor", tidr.Node(plate(3.0)))
    scene.add_light("sky", tidr.AmbientLight((1.0, 0.9, 0.8)))
    scene.add_light("sun", tidr.DirectionalLight((0, -1, 0.1), 0.1))
    camera = tidr.Camera.look_at((0.3, 0.9, 1.7), (0, 0.2, 0), fov_y_degrees=45, width=size, height=size)
    scene.add_camera("front", camera)
    return scene


def expected(scene: tidr.Scene, radius: float) -> np.ndarray:
    """[H, W] the share that is left, pixel by pixel, from depth, normals and the camera's numbers."""
    image = tidr.render(scene, renderer=tidr.Rasterizer(edges="none", channels=("depth", "normal", "alpha")))
    depth, normal, alpha = (np.asarray(image.channel(name)) for name in ("depth", "normal", "alpha"))
    camera, size = scene.cameras["front"], len(depth)
    focal = camera.focal.host()[0]
    rows, columns = np.indices((size, size)) + 0.5
    ahead = np.stack([(columns - size / 2) / focal, (size / 2 - rows) / focal, -np.ones_like(rows)], -1)
    turn, place = camera.camera_to_world[:3, :3], camera.position.host()
    points = place + depth * (ahead @ turn.T)
    left = np.ones((size, size))
    for row, column in np.argwhere(alpha[..., 0] > 0):
        p, n = points[row, column], normal[row, column]
        offset = (column + 0.5 - size / 2) / focal
        reach = radius * focal * np.hypot(1, offset) / depth[row, column, 0]
        for k in range(32):
            way = reach * (k + 0.5) / 32 * np.array([np.cos(2.399963229728653 * k), np.sin(2.399963229728653 * k)])
            x, y = (int(np.floor(start + 0.5 + step)) for start, step in zip((column, row), way, strict=True))
            if 0 <= x < size and 0 <= y < size and alpha[y, x, 0] > 0:
                v = points[y, x] - p
                near, above = max(radius**2 - v @ v, 0), max(v @ n - 0.01 * radius, 0)
                left[row, column] -= 2.5 / 32 / radius**5 * near**3 * above / (v @ v + 0.01 * radius**2)
    return np.maximum(left, 0)


@pytest.mark.row(28)
def test_it_is_what_the_formula_says_and_for_ambient_light_only(f64):
    scene = ball_on_floor()
    shown, plain = (np.asarray(tidr.render(scene, renderer=one).rgb) for one in (AROUND, tidr.Rasterizer(edges="none")))
    left = expected(scene, RADIUS)
    assert left.min() < 0.7  # where the ball touches the floor
    assert (left > 0.99).mean() > 0.5
    scene["sky"].radiance.set(0.0)
    sun = np.asarray(tidr.render(scene, renderer=AROUND).rgb)
    np.testing.assert_allclose(shown, sun + left[..., None] * (plain - sun), atol=1e-12)


def test_pictures_of_several_cameras_and_of_soft_edges_have_it(f64):
    scene = ball_on_floor()
    scene.add_camera("low", tidr.Camera.look_at((-1.2, 0.5, 1.1), (0, 0.2, 0), fov_y_degrees=40, width=24, height=24))
    both = np.asarray(tidr.render(scene, ["front", "low"], AROUND).rgb)
    for name, picture in zip(("front", "low"), both, strict=True):
        np.testing.assert_allclose(picture, np.asarray(tidr.render(scene, name, AROUND).rgb), atol=1e-12)
    soft = tidr.Rasterizer(edges="soft", channels=("rgb",), sigma=1e-7, ambient_occlusion=RADIUS)
    blurred = np.asarray(tidr.render(scene, "front", soft).rgb)
    assert np.median(np.abs(blurred - both[0])) < 1e-3
    assert blurred.min() < 0.8 * np.median(blurred)
