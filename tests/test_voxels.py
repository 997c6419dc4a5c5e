"""The voxel renderer: closed forms, geometry, degenerate input; the grid and its conversions."""

import math

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.fitting.voxel_losses import opacity_prior, truncated
from tidr.renderers.level_set import LevelSetRenderer
from tidr.renderers.volume import VolumeRenderer
from tidr.renderers.voxels import VoxelRenderer
from tidr.renderers.voxels_march import METHODS
from tidr.renderers.voxels_splat import _starts
from tidr.scene.distance import distance_transform
from tidr.scene.volume import Volume
from tidr.scene.voxels import VoxelGrid, cell_centers

from .gradients import directional_check, tape_gradients, weighted
from .reference import voxels as twin
from .voxel_scenes import ball, bent, cloud, front, placed, view

THREE = (0.2, 0.5, 0.8)
UNIT = np.eye(3)


def alpha(image) -> float:
    return image.alpha.numpy().item()


@pytest.mark.row(56)
def test_ray_termination(f64):
    grid, draw = front(THREE, VoxelRenderer(method="drc"), UNIT)
    np.testing.assert_allclose(draw().rgb.numpy().ravel(), (0.2, 0.4, 0.32), rtol=1e-12)
    assert alpha(draw()) == pytest.approx(1 - 0.08, rel=1e-12)
    (gradient,) = tape_gradients(lambda: weighted(draw().rgb, [1, 0, 1]), [grid.occupancy])
    # L = .2 + .32 = .6 less the background's .08, whose derivatives are (-.1, -.16, -.4)
    np.testing.assert_allclose(gradient.ravel()[::-1], (0.5 + 0.1, -0.8 + 0.16, 0 + 0.4), rtol=1e-12)


@pytest.mark.row(58, 59)
@pytest.mark.parametrize(
    ("method", "expected"), [("visual_hull", 1 - math.exp(-1.5)), ("absorption", 0.92), ("ptn", 0.8), ("drc", 0.92)]
)
def test_alpha(f64, method, expected):
    _, draw = front(THREE, VoxelRenderer(method=method))
    assert alpha(draw()) == pytest.approx(expected, abs=1e-12)
    assert round(1 - math.exp(-1.5), 6) == 0.776870


@pytest.mark.row(60)
def test_inclusive_transmission(f64):
    _, draw = front(THREE, VoxelRenderer(method="emission_absorption", density_scale=1.0), UNIT)
    np.testing.assert_allclose(draw().rgb.numpy().ravel() / 0.92, (0.37736, 0.47170, 0.15094), atol=5e-6)
    _, draw = front(THREE, VoxelRenderer(method="emission_absorption", density_scale=1.0, inclusive=False), UNIT)
    np.testing.assert_allclose(draw().rgb.numpy().ravel(), (0.2, 0.4, 0.32), atol=1e-7)


@pytest.mark.row(61)
def test_accumulation_to_one(f64):
    drawer = VoxelRenderer(method="neural_volumes", samples=3)
    grid, draw = front((0.4, 0.5, 0.6), drawer, UNIT)
    np.testing.assert_allclose(draw().rgb.numpy().ravel(), (0.4, 0.5, 0.1), rtol=1e-12)
    of_alpha, of_color = tape_gradients(lambda: weighted(draw().rgb, [1, 2, 5]), [grid.occupancy, grid.color])
    np.testing.assert_allclose(of_alpha.ravel()[::-1], (1 - 5, 2 - 5, 0), rtol=1e-12)
    np.testing.assert_allclose(of_color.reshape(3, 3)[::-1][2], (0.1, 0.2, 0.5), rtol=1e-12)


@pytest.mark.row(61)
def test_warp_moves_the_picture(f64):
    drawer, camera = VoxelRenderer(method="neural_volumes"), view(size=24)
    # within the outermost centres of the warp the identity changes nothing, and a constant shift moves the grid
    grid = VoxelGrid(occupancy=ball(16, 0.35).occupancy.numpy())
    whole = cell_centers((16, 16, 16))
    scene = placed(grid)
    seen = tidr.render(scene, camera, drawer).alpha.numpy()
    warped = placed(VoxelGrid(occupancy=grid.occupancy.numpy(), warp=whole))
    np.testing.assert_allclose(tidr.render(warped, camera, drawer).alpha.numpy(), seen, atol=1e-12)
    shift = np.array([0.25, 0.0, 0.0])
    warped = placed(VoxelGrid(occupancy=grid.occupancy.numpy(), warp=whole + shift))
    moved = placed(VoxelGrid(occupancy=np.roll(grid.occupancy.numpy(), -2, axis=2)))
    found, expected = (tidr.render(each, camera, drawer).alpha.numpy() for each in (warped, moved))
    assert np.abs(expected - seen).max() > 0.2
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_twin(f64, method, kind):
    """Every pixel equals the plain numpy version."""
    scene, camera = placed(cloud(6)), view(kind, 7)
    image = tidr.render(scene, camera, VoxelRenderer(method=method, density_scale=0.7, background_depth=5.0))
    expected = twin.render(scene, scene["grid"], camera, method, density_scale=0.7, background_depth=5.0)
    for name in ("alpha", "rgb", "depth"):
        np.testing.assert_allclose(image.channel(name).numpy(), expected[name], atol=1e-7, err_msg=name)


@pytest.mark.row(55)
@pytest.mark.parametrize("method", ["ptn", "drc", "visual_hull", "absorption"])
def test_a_ball_covers_its_ellipse(f64, method):
    """The silhouette off the axis has the area of the perspective image of a sphere, within a ring of a pixel."""
    side, radius = 64, 0.5
    scene = tidr.Scene()
    scene.add_node("grid", tidr.Node(ball(side, radius), translation=(0.6, 0.3, 0)))
    camera = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40, width=96, height=96)
    mask = tidr.render(scene, camera, VoxelRenderer(method=method)).alpha.numpy() > 0.5
    center, focal = np.array([0.6, 0.3, -4.0]), float(camera.focal.numpy()[0])
    distance = np.linalg.norm(center)
    opening, tilt = math.asin(radius / distance), math.acos(4.0 / distance)
    near, far = math.tan(tilt - opening), math.tan(tilt + opening)
    major = focal * (far - near) / 2
    minor = focal * math.sin(opening) / math.sqrt(math.cos(tilt) ** 2 - math.sin(opening) ** 2)
    ring = math.pi * (major + minor)
    assert abs(mask.sum() - math.pi * major * minor) < ring


def test_splats_equal_the_march(f32):
    scene = tidr.Scene()
    scene.add_node("grid", tidr.Node(ball(32), rotation=(0.9, 0.2, 0.3, 0.1)))
    cameras = tidr.sphere_views(3, 4.0, fov_y_degrees=40, width=64, height=64)
    marched = tidr.render(scene, cameras, VoxelRenderer(method="absorption")).alpha.numpy()
    splats = tidr.render(scene, cameras, VoxelRenderer(method="splat")).alpha.numpy()
    assert np.abs(marched - splats).mean() < 0.02
    assert marched.mean() > 0.2


def test_empty_voxels_have_gradients_though_no_splat_of_theirs_is_drawn(f64):
    """Off the tape they are left out before anything is sorted; the picture is the same to the last bit."""
    grid = ball(6, color=np.random.default_rng(0).uniform(size=(6, 6, 6, 3)))
    scene, camera, drawer = placed(grid), view(), VoxelRenderer(method="splat")
    without = tidr.render(scene, camera, drawer).rgb.numpy()
    made = []

    def loss():
        made.append(tidr.render(scene, camera, drawer).rgb)
        return weighted(made[-1], 1.0)

    (gradient,) = tape_gradients(loss, [grid.occupancy])
    np.testing.assert_array_equal(made[0].numpy(), without)
    empty = grid.occupancy.numpy() == 0
    assert empty.mean() > 0.3
    assert (gradient[empty] != 0).any()
    index = np.unravel_index(np.argmax(np.abs(gradient) * empty), empty.shape)
    values, sums = grid.occupancy.numpy(), []
    for step in (0.0, 1e-6):
        values[index] = step
        grid.occupancy.set(values)
        sums.append(tidr.render(scene, camera, drawer).rgb.numpy().sum())
    assert (sums[1] - sums[0]) / 1e-6 == pytest.approx(gradient[index], rel=1e-4)


def test_a_channel_first_asked_for_on_the_tape_has_gradients_of_empty_voxels_too(f64):
    grid, drawer = cloud(5, classes=3), VoxelRenderer(method="splat")
    scene, camera = placed(grid), view()
    image = tidr.render(scene, camera, drawer)
    assert image.rgb.numpy().any()
    (late,) = tape_gradients(lambda: weighted(image.channel("semantics"), 1.0), [grid.occupancy])
    again = tidr.render(scene, camera, drawer)
    (whole,) = tape_gradients(lambda: weighted(again.channel("semantics"), 1.0), [grid.occupancy])
    np.testing.assert_array_equal(late, whole)
    assert (late[grid.occupancy.numpy() == 0] != 0).any()


def test_too_many_splats_are_refused():
    with pytest.raises(SceneError, match=r"splats cover 1073741824 pixels, the limit is 2\^30 \(draw fewer"):
        _starts(np.array([1 << 29, 1 << 29]))


@pytest.mark.row(55)
def test_gradient_of_the_largest_sample_is_one_hot(f64):
    grid, draw = front((0.3, 0.7, 0.7, 0.2), VoxelRenderer(method="ptn"))
    (gradient,) = tape_gradients(lambda: weighted(draw().alpha, 1.0), [grid.occupancy])
    np.testing.assert_array_equal(gradient.ravel()[::-1], (0, 1, 0, 0))


@pytest.mark.parametrize("method", [*METHODS, "splat"])
def test_degenerate(f64, method):
    drawer = VoxelRenderer(method=method)
    empty = VoxelGrid(occupancy=np.zeros((4, 4, 4)), color=np.full((4, 4, 4, 3), 0.5))
    solid = VoxelGrid(occupancy=np.ones((3, 4, 5)))
    one = VoxelGrid(occupancy=np.ones((1, 1, 1)))
    inside = tidr.Camera.look_at((0.1, 0.2, 0.3), (0, 0, 0), fov_y_degrees=90, width=6, height=5)
    along = tidr.Camera.look_at((0, 0, 3), (0, 0, 0), height_world=2.0, width=4, height=4)
    away = tidr.Camera.look_at((0, 0, 4), (0, 0, 9), fov_y_degrees=40, width=3, height=1)
    for grid in (empty, solid, one):
        for camera in (inside, along, away, view(size=6)):
            scene = placed(grid)
            parameters = scene.parameters()
            with Tape() as tape:
                image = tidr.render(scene, camera, drawer)
                for name in ("rgb", "alpha", "depth"):
                    assert np.isfinite(image.channel(name).numpy()).all()
                    tape.add(weighted(image.channel(name), 1.0))
            assert all(np.isfinite(p.grad_numpy()).all() for p in parameters.values())
            if grid is empty or camera is away:
                assert not image.alpha.numpy().any()
                np.testing.assert_allclose(image.rgb.numpy(), np.broadcast_to((0.2, 0.1, 0.4), image.rgb.shape))
    if method not in ("emission_absorption", "neural_volumes", "splat"):
        assert tidr.render(placed(solid), inside, drawer).alpha.numpy().min() > 0.6


def test_memory_does_not_grow_with_samples(f32):
    from tidr import buffer

    grid, sizes = cloud(0), []
    scene, camera = placed(grid), view(size=48)
    for samples in (64, 1024):
        with Tape() as tape:
            image = tidr.render(scene, camera, VoxelRenderer(method="ptn", samples=samples))
            tape.add(weighted(image.rgb, 1.0))
        sizes.append(sum(math.prod(each.shape) for each in buffer._owned.values()))
    assert sizes[1] <= 1.01 * sizes[0] + 16 * (1 << 17)


@pytest.mark.row(63, 121)
def test_conversions_come_back(f64):
    rng = np.random.default_rng(0)
    solid = rng.uniform(size=(7, 6, 5)) < 0.4
    grid = VoxelGrid(occupancy=solid.astype(float), lower=(0, 0, 0), upper=(5, 6, 7))
    np.testing.assert_array_equal(grid.to_sdf().to_occupancy().occupancy.numpy(), solid)
    np.testing.assert_array_equal(grid.to_tsdf(1.5).to_occupancy().occupancy.numpy(), solid)

    center = cell_centers((20, 20, 20))
    exact = np.linalg.norm(center, axis=-1) - 0.6
    smooth = VoxelGrid(sdf=exact)
    cell = 0.1
    np.testing.assert_allclose(smooth.to_tsdf(0.25).tsdf.numpy(), np.clip(exact, -0.25, 0.25))
    back = smooth.to_tsdf(0.25).to_sdf().sdf.numpy()
    near = np.abs(exact) < 0.25
    np.testing.assert_allclose(back[near], exact[near])
    assert np.abs(back - exact).max() < 1.5 * cell
    assert (np.sign(back) == np.sign(exact)).all()
    again = smooth.to_occupancy().to_sdf().sdf.numpy()
    assert np.abs(again - exact).max() < 1.5 * cell
    np.testing.assert_allclose(again[np.abs(exact) < 0.49 * cell], exact[np.abs(exact) < 0.49 * cell], atol=1e-12)


@pytest.mark.row(63)
def test_truncation_has_no_gradient_outside_the_band(f64):
    values = np.array([-0.5, -0.2, -0.1, 0.0, 0.15, 0.21, 3.0, 0.1]).reshape(2, 2, 2)
    grid = VoxelGrid(sdf=values)
    weights = np.arange(1.0, 9.0).reshape(2, 2, 2)
    np.testing.assert_allclose(truncated(grid.sdf, 0.2).numpy(), np.clip(values, -0.2, 0.2), rtol=1e-6)
    (gradient,) = tape_gradients(lambda: weighted(truncated(grid.sdf, 0.2), weights), [grid.sdf])
    np.testing.assert_allclose(gradient, np.where(np.abs(values) < 0.19, weights, 0))
    with pytest.raises(tidr.SceneError, match="above 0"):
        truncated(grid.sdf, 0.0)


@pytest.mark.row(61)
def test_opacities_are_drawn_to_zero_or_one(f64):
    scene, camera = placed(cloud(1, border=0.1)), view()
    drawer = VoxelRenderer(method="neural_volumes", samples=24)
    grid = scene["grid"].geometry

    def loss():
        return opacity_prior(tidr.render(scene, camera, drawer))

    assert float(opacity_prior(Array.of(np.array([[0.0], [1.0]])))) == pytest.approx(0.0, abs=1e-5)
    assert float(opacity_prior(Array.of(np.array([[0.5]])))) == pytest.approx(2 * math.log(0.6) + 2.20727, abs=1e-6)
    directional_check(loss, [grid.occupancy], f64, 1)


@pytest.mark.row(63)
def test_distances_are_exact(f64):
    rng = np.random.default_rng(1)
    mask = rng.uniform(size=(6, 7, 8)) < 0.05
    spacing = (1.5, 1.0, 0.5)
    points = np.argwhere(mask) * spacing
    everywhere = np.argwhere(np.ones_like(mask)) * spacing
    brute = np.linalg.norm(everywhere[:, None] - points[None], axis=-1).min(1).reshape(mask.shape)
    np.testing.assert_allclose(distance_transform(mask, spacing), brute, rtol=1e-12)
    assert np.isinf(distance_transform(np.zeros((2, 2, 2), bool), spacing)).all()


@pytest.mark.row(121)
def test_a_grid_becomes_finer(f32):
    grid = VoxelGrid(sdf=np.linalg.norm(cell_centers((8, 8, 8)), axis=-1), color=np.full((8, 8, 8, 3), 0.3))
    finer = grid.resampled((16, 16, 16))
    assert finer.color is not None
    assert finer.shape == (16, 16, 16) == finer.color.shape[:3]
    assert np.abs(finer.sdf.numpy() - np.linalg.norm(cell_centers((16, 16, 16)), axis=-1)).max() < 0.15
    grid.sdf.replace(finer.sdf.numpy().astype(float))
    assert (grid.shape, grid.sdf.rows, grid.sdf.channels) == ((16, 16, 16), 4096, 1)


@pytest.mark.row(121)
def test_bad_grids_are_refused(f32):
    good = np.full((3, 3, 3), 0.5)
    bad = good.copy()
    bad[1, 2, 0] = np.nan
    cases = [
        ({}, "no shape"),
        ({"occupancy": good, "sdf": good}, "occupancy and sdf"),
        ({"occupancy": bad}, r"\(1, 2, 0\) is not finite"),
        ({"occupancy": good + 1}, r"spans 1.5"),
        ({"occupancy": good[0]}, r"shape \(3, 3\)"),
        ({"sdf": np.zeros((0, 3, 3))}, "none empty"),
        ({"occupancy": good, "color": np.zeros((3, 3, 2, 3))}, "cells"),
        ({"occupancy": good, "warp": np.zeros((3, 3, 2, 2))}, "3 channels"),
        ({"occupancy": good, "lower": (0, 0, 2)}, "not below"),
        ({"occupancy": good, "truncation": 1.0}, "belongs to a tsdf"),
        ({"tsdf": good, "truncation": -1.0}, "distance > 0"),
    ]
    for arguments, message in cases:
        with pytest.raises(tidr.SceneError, match=message):
            VoxelGrid(**arguments)
    grid = VoxelGrid(occupancy=good, color=np.zeros((3, 3, 3, 3)))
    assert grid.byte_size() == 4 * 27 * 4
    with pytest.raises(tidr.SceneError, match="to_sdf"):
        _ = grid.sdf


def test_bad_settings_are_refused(f32):
    for options in ({"method": "x"}, {"samples": -1}, {"density_scale": 2.0}, {"background_depth": math.inf}):
        with pytest.raises(tidr.SceneError):
            VoxelRenderer(**options)
    scene = placed(VoxelGrid(sdf=np.ones((3, 3, 3))))
    with pytest.raises(tidr.SceneError, match="to_occupancy"):
        tidr.render(scene, view(), VoxelRenderer(method="drc"))
    assert tidr.render(scene, view(), VoxelRenderer()).alpha.shape == (8, 8, 1)
    with pytest.raises(tidr.SceneError, match="0 voxel grids"):
        tidr.render(tidr.Scene(), view(), VoxelRenderer())
    scene = placed(cloud(0, warp=bent(0)))  # "auto" is drc
    with pytest.raises(tidr.SceneError, match="warp"):
        tidr.render(scene, view(), VoxelRenderer())


@pytest.mark.row(82)
def test_a_grid_is_the_same_as_voxels_and_as_a_volume(f64):
    """alpha = 1 - exp(-sum of v at samples one spacing apart) is the volume of density v / spacing."""
    rng, samples = np.random.default_rng(2), 400
    occupancy = np.zeros((8, 8, 8))
    occupancy[1:-1, 1:-1, 1:-1] = rng.uniform(size=(6, 6, 6))
    spacing, color = 2 / samples, (0.9, 0.5, 0.2)
    shown = np.broadcast_to(color, (8, 8, 8, 3))
    density = 3 * occupancy
    scenes = [tidr.Scene(tidr.Film(16, 16)) for _ in range(2)]
    scenes[0].add_node("grid", tidr.Node(VoxelGrid(occupancy=occupancy, color=shown)))
    scenes[1].add_node("grid", tidr.Node(Volume(density, color=color)))
    camera = tidr.Camera.look_at((1.5, 1, 3), (0, 0, 0), fov_y_degrees=40, width=16, height=16)
    drawers = [
        VoxelRenderer(method="visual_hull", samples=samples, density_scale=3 * spacing),
        VolumeRenderer(steps=samples, stop=0.0),
    ]
    voxels, volume = (tidr.render(s, camera, d) for s, d in zip(scenes, drawers, strict=True))
    assert voxels.alpha.numpy().max() > 0.5
    for name in ("rgb", "alpha"):
        assert np.abs(voxels.channel(name).numpy() - volume.channel(name).numpy()).max() < 1e-3

    largest = tidr.render(scenes[0], camera, VoxelRenderer(method="ptn", samples=4096)).alpha.numpy()
    lowest = tidr.render(scenes[0], camera, LevelSetRenderer(steps=4096)).channel("min_sdf").numpy()
    assert np.abs(largest - (0.5 - lowest))[largest > 0].max() < 1e-3


def test_signed_distances_are_drawn_by_the_level_set_renderer(f64):
    scene = tidr.Scene()
    distance = np.linalg.norm(cell_centers((24, 24, 24)), axis=-1) - 0.6
    scene.add_node("ball", tidr.Node(VoxelGrid(sdf=distance)))
    camera = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=2, width=9, height=9)
    image = tidr.render(scene, camera, VoxelRenderer(method="sdf", differentiation="sdfdiff"))
    assert image.depth.numpy()[4, 4, 0] == pytest.approx(3.4, abs=5e-3)
    assert image.alpha.numpy().sum() == pytest.approx(np.pi * 0.36 * 81 / 4, rel=0.2)
