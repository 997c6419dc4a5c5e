"""Anchors: brute force, one anchor's gradient, agreement with samples along rays, and a fit."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting.losses import mse
from tidr.fitting.optimizers import Adam
from tidr.fitting.tape import Tape
from tidr.renderers.implicit_anchors import AnchorRenderer, Anchors
from tidr.renderers.rays import Rays
from tidr.renderers.renderer import render
from tidr.scene.camera import sphere_views
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.voxels import VoxelGrid, cell_centers

from .gradients import directional_check, tape_gradients, weighted
from .reference.implicit import trilinear
from .test_level_set import front


def lone(values: np.ndarray, **place) -> Scene:
    scene = Scene(Film(16, 16))
    scene.add_node("shape", Node(VoxelGrid(occupancy=values), **place))
    return scene


def blobs(n: int) -> np.ndarray:
    """Two overlapping soft balls."""
    centers = cell_centers((n, n, n))
    one, two = (np.linalg.norm(centers - np.array(c), axis=-1) for c in ((-0.25, 0, 0), (0.3, 0.2, 0.1)))
    return np.clip(np.exp(-((one / 0.45) ** 2)) + 0.7 * np.exp(-((two / 0.35) ** 2)), 0, 0.98)


@pytest.mark.row(76)
def test_alpha_is_the_largest_anchor_near_the_ray(f64):
    scene = lone(blobs(8), rotation=(1, 0.2, 0.3, 0.1), scale=(1.1, 0.9, 1))
    anchors = Anchors.of(scene["shape"], 600, 0.11, seed=2)
    alpha = render(scene, front(9, fov_y_degrees=30), AnchorRenderer(anchors=anchors)).alpha.numpy().ravel()
    rays = Rays.of_cameras([front(9, fov_y_degrees=30)], 9, 9).to_object(scene, scene["shape"])
    o, d, points = rays.origins.numpy(), rays.directions.numpy(), anchors.points.numpy()
    values = trilinear(scene["shape"].geometry.occupancy.numpy(), points, (-1, -1, -1), (1, 1, 1))
    for ray in range(81):
        t = (points - o[ray]) @ d[ray] / (d[ray] @ d[ray])
        foot = o[ray] + t[:, None] * d[ray]
        near = np.linalg.norm(points - foot, axis=1) < 0.11
        near &= (np.abs(foot) < 1).all(1)
        assert alpha[ray] == pytest.approx(values[near].max() if near.any() else 0, abs=1e-5)
    assert (alpha > 0).sum() > 30


@pytest.mark.row(76)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients(f64, seed):
    scene = lone(blobs(7) * 0.9 + 0.05 * np.random.default_rng(seed).random((7, 7, 7)))
    renderer = AnchorRenderer(anchors=Anchors.of(scene["shape"], 300, 0.15, seed=seed))
    weights = np.random.default_rng(seed).normal(size=(8, 8, 1))
    values = scene["shape"].geometry.occupancy
    directional_check(lambda: weighted(render(scene, front(8), renderer).alpha, weights), [values], f64, seed)


@pytest.mark.row(76)
def test_gradient_reaches_one_anchor_only(f64):
    scene = lone(blobs(8))
    renderer, weights = AnchorRenderer(anchors=Anchors.of(scene["shape"], 400, 0.15)), np.zeros((9, 9, 1))
    weights[4, 4] = 1
    (gradient,) = tape_gradients(
        lambda: weighted(render(scene, front(9), renderer).alpha, weights), [scene["shape"].geometry.occupancy]
    )
    assert gradient.sum() == pytest.approx(1)
    assert (gradient != 0).sum() <= 8


def anchored_gradient() -> np.ndarray:
    scene = lone(blobs(8))
    renderer = AnchorRenderer(anchors=Anchors.of(scene["shape"], 500, 0.12))
    (gradient,) = tape_gradients(
        lambda: mse(render(scene, front(12), renderer).alpha, np.ones((12, 12, 1))),
        [scene["shape"].geometry.occupancy],
    )
    return gradient


@pytest.fixture
def exact(f64) -> np.ndarray:
    return anchored_gradient()


def test_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    assert np.linalg.norm(exact - anchored_gradient()) <= 2e-2 * np.linalg.norm(exact)


def ray_gradient(scene: Scene, cameras, targets, samples: int = 160) -> np.ndarray:
    """Gradient of the silhouette loss when each ray takes the largest of its own samples; in numpy."""
    values = scene["shape"].geometry.occupancy.numpy().astype(np.float64)
    n, gradient = values.shape[0], np.zeros_like(values)
    for camera, target in zip(cameras, targets, strict=True):
        rays = Rays.of_cameras([camera], camera.width, camera.height)
        o, d = rays.origins.numpy().astype(float), rays.directions.numpy().astype(float)
        one, other = (-1 - o) / d, (1 - o) / d
        t0, t1 = np.minimum(one, other).max(1), np.maximum(one, other).min(1)
        t = t0[:, None] + (t1 - t0)[:, None] * (np.arange(samples) + 0.5) / samples
        points = o[:, None] + t[..., None] * d[:, None]
        seen = trilinear(values, points.reshape(-1, 3), (-1,) * 3, (1,) * 3).reshape(t.shape)
        best = seen.argmax(1)
        hit = t1 > t0
        slope = 2 * (seen.max(1) - target.ravel()) / target.size * hit
        q = np.clip((points[np.arange(len(o)), best] + 1) / 2 * n - 0.5, 0, n - 1)
        low = np.clip(q.astype(int), 0, n - 2)
        for corner in range(8):
            bits = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            weight = np.where(bits == 1, q - low, 1 - q + low).prod(1)
            x, y, z = (low + bits).T
            np.add.at(gradient, (z, y, x), weight * slope)
    return gradient


@pytest.mark.row(81)
def test_gradient_is_that_of_samples_along_the_rays(f32):
    """Averaged over sets of anchors, and no farther off than twice what one set differs from another."""
    scene, cameras = lone(blobs(6)), sphere_views(4, 3.4, fov_y_degrees=40, width=24, height=24)
    targets = np.zeros((4, 24, 24, 1))
    exact = ray_gradient(scene, cameras, targets)
    found = []
    for seed in range(6):
        renderer = AnchorRenderer(anchors=Anchors.of(scene["shape"], 60000, 0.05, seed=seed))
        gradient = sum(
            tape_gradients(
                lambda camera=camera, renderer=renderer: mse(
                    render(scene, camera, renderer).alpha, np.zeros((24, 24, 1))
                ),
                [scene["shape"].geometry.occupancy],
            )[0]
            for camera in cameras
        )
        found.append(gradient)
    mean = np.mean(found, 0)
    cosine = (mean * exact).sum() / np.linalg.norm(mean) / np.linalg.norm(exact)
    assert cosine > 0.97
    noise = np.mean([np.linalg.norm(one - mean) for one in found])
    assert np.linalg.norm(mean - exact) < max(2 * noise, 0.25 * np.linalg.norm(exact))


@pytest.mark.row(76)
def test_ball_from_silhouettes(f32):
    """16k anchors, 12 views: IoU of at least 0.9."""
    n, cameras = 28, sphere_views(12, 3.4, fov_y_degrees=40, width=48, height=48)
    solid = np.linalg.norm(cell_centers((n, n, n)), axis=-1) < 0.62
    scene = lone(np.full((n, n, n), 0.6))
    masks = []
    for camera in cameras:
        rays = Rays.of_cameras([camera], 48, 48)
        o, d = rays.origins.numpy(), rays.directions.numpy()
        along = -(o * d).sum(1)
        masks.append(((o * o).sum(1) - along**2 < 0.62**2).reshape(48, 48, 1).astype(float))
    optimizer = Adam(scene.parameters("shape.occupancy"), lr=0.02)
    anchors = Anchors.of(scene["shape"], 16384, 0.02)
    for step in range(80):
        if step % 10 == 0:
            anchors = Anchors.of(scene["shape"], 16384, 0.02, seed=step)
        chosen = [(step * 5 + k * 4) % 12 for k in range(3)]
        with Tape() as tape:
            image = render(scene, [cameras[c] for c in chosen], AnchorRenderer(anchors=anchors))
            tape.add(mse(image.alpha, np.stack([masks[c] for c in chosen])))
        optimizer.step()
    found = scene["shape"].geometry.occupancy.numpy() > 0.5
    assert (found & solid).sum() / (found | solid).sum() >= 0.9


def test_faults_are_named(f32):
    scene = lone(blobs(4))
    with pytest.raises(SceneError, match="radius"):
        Anchors.of(scene["shape"], 10, 0.0)
    with pytest.raises(SceneError, match="count"):
        Anchors.of(scene["shape"], 0)
    with pytest.raises(SceneError, match=r"anchors\.points"):
        Anchors(np.zeros((0, 3)), 0.1, (-1,) * 3, (1,) * 3)
    sdf = Scene(Film(8, 8))
    sdf.add_node("shape", Node(VoxelGrid(sdf=np.zeros((2, 2, 2)))))
    with pytest.raises(SceneError, match="occupancy"):
        render(sdf, front(8), AnchorRenderer(anchors=Anchors.of(scene["shape"], 10)))
