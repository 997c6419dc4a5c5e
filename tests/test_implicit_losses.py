"""Losses on implicit surfaces: values by hand, gradients, and the silhouette that they move."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting import implicit_losses as losses
from tidr.renderers.level_set import LevelSetRenderer
from tidr.renderers.renderer import render
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.voxels import VoxelGrid, cell_centers

from .gradients import directional_check, tape_gradients
from .test_level_set import front, lone, sphere_grid


def rough_ball(seed: int, n: int = 7) -> VoxelGrid:
    rng = np.random.default_rng(seed)
    return VoxelGrid(sdf=np.linalg.norm(cell_centers((n, n, n)), axis=-1) - 0.6 + 0.05 * rng.normal(size=(n, n, n)))


def cases(seed: int):
    """(function, array) for every loss."""
    scene, mask = lone(rough_ball(seed)), np.zeros((10, 10))
    mask[1:8, 5:] = 1
    everywhere = np.ones((10, 10))  # rays that hit do not count: their place is held fixed, as DVR does
    grid, camera = scene["shape"].geometry, front(10, fov_y_degrees=36)
    renderer = LevelSetRenderer(steps=64, search="uniform")
    sdf = grid.sdf.numpy()
    tets = Tetrahedra(sdf + 0.05 * np.sign(sdf))
    return [
        (lambda: losses.ray_mask(render(scene, camera, renderer), mask, 5.0), grid.sdf),
        (lambda: losses.free_space(render(scene, camera, renderer), everywhere, 5.0), grid.sdf),
        (lambda: losses.eikonal(grid), grid.sdf),
        (lambda: losses.field_laplacian(grid), grid.sdf),
        (lambda: losses.sign_changes(tets), tets.sdf),
    ]


@pytest.mark.row(79)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients(f64, seed):
    for function, array in cases(seed):
        directional_check(function, [array], f64, seed)


def gradients() -> list[np.ndarray]:
    return [tape_gradients(function, [array])[0] for function, array in cases(0)]


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


def test_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    for one, other in zip(exact, gradients(), strict=True):
        assert np.linalg.norm(one - other) <= 2e-2 * np.linalg.norm(one)


def test_values_by_hand(f64):
    centers = cell_centers((6, 6, 6))
    slope = VoxelGrid(sdf=centers @ np.array([0.0, 2, 0]))
    assert float(losses.eikonal(slope)) == pytest.approx(1)
    assert float(losses.field_laplacian(slope)) == pytest.approx(0, abs=1e-20)
    spike = np.zeros((5, 5, 5))
    spike[2, 2, 2] = 1
    assert float(losses.field_laplacian(VoxelGrid(sdf=spike))) == pytest.approx((36 + 6) / 27)
    grid = Tetrahedra(np.linalg.norm(cell_centers((2, 2, 2)), axis=-1))
    assert float(losses.sign_changes(grid)) == 0
    corner = np.ones((2, 2, 2))
    corner[0, 0, 0] = -1
    assert float(losses.sign_changes(Tetrahedra(corner))) == pytest.approx(2 * np.log(1 + np.e))


@pytest.mark.row(79)
def test_mask_losses_move_the_silhouette(f64):
    """Where the mask says solid and rays miss, values fall; where rays hit the background, they rise."""
    for loss, sharpness in ((losses.ray_mask, 20.0), (losses.free_space, 20.0)):
        for radius, direction in ((0.4, 1), (1.2, -1)):
            scene, camera = lone(sphere_grid(12, radius)), front(12)
            mask = render(lone(sphere_grid(12, 0.8)), camera, LevelSetRenderer()).alpha.numpy()
            (gradient,) = tape_gradients(
                lambda scene=scene, camera=camera, mask=mask, loss=loss, sharpness=sharpness: loss(
                    render(scene, camera, LevelSetRenderer()), mask, sharpness
                ),
                [scene["shape"].geometry.sdf],
            )
            assert direction * gradient.sum() > 0
            if loss is losses.free_space:
                assert (direction * gradient >= 0).all()


def test_faults_are_named(f32):
    scene = lone(sphere_grid(6))
    image = render(scene, front(8), LevelSetRenderer())
    with pytest.raises(SceneError, match="mask has shape"):
        losses.ray_mask(image, np.zeros((3, 3)))
    with pytest.raises(SceneError, match="sharpness"):
        losses.ray_mask(image, np.zeros((8, 8)), 0.0)
    with pytest.raises(SceneError, match="voxel grid"):
        losses.eikonal(scene)
    with pytest.raises(SceneError, match="tetrahedra"):
        losses.sign_changes(scene["shape"])
