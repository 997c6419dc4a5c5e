"""Level sets of grids: where rays hit, and how that moves; normals, shading, the lowest value along a ray."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.renderers.level_set import LevelSetRenderer
from tidr.renderers.renderer import render
from tidr.runtime import current
from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import AmbientLight, DirectionalLight, PointLight
from tidr.scene.material import Material
from tidr.scene.voxels import VoxelGrid, cell_centers

from .conftest import on_backends
from .gradients import directional_check, tape_gradients, weighted
from .reference.implicit import first_hit


def sphere_grid(n: int, radius: float = 1.0, box: float = 1.5, **extra) -> VoxelGrid:
    centers = cell_centers((n, n, n), (-box,) * 3, (box,) * 3)
    return VoxelGrid(sdf=np.linalg.norm(centers, axis=-1) - radius, lower=(-box,) * 3, upper=(box,) * 3, **extra)


def lone(grid: VoxelGrid, background=(0.0, 0.0, 0.0), **place) -> Scene:
    scene = Scene(Film(16, 16, background))
    scene.add_node("shape", Node(grid, **place))
    return scene


def front(size: int = 16, **options) -> Camera:
    return Camera.look_at((0, 0, 4), (0, 0, 0), **({"fov_y_degrees": 40} | options), width=size, height=size)


def bumpy(seed: int, kind: str = "sdf", color: bool = True) -> Scene:
    """A wobbly ball in a turned and stretched node, lit by every kind of light."""
    rng = np.random.default_rng(seed)
    centers = cell_centers((7, 8, 9), (-1.2, -1.1, -1), (1, 1.1, 1.2))
    values = np.linalg.norm(centers, axis=-1) - 0.6 + 0.04 * rng.normal(size=centers.shape[:3])
    shape = {kind: values if kind == "sdf" else 0.5 - 0.25 * values}
    colors = rng.uniform(0.2, 0.9, (7, 8, 9, 3)) if color else None
    grid = VoxelGrid(**shape, color=colors, lower=(-1.2, -1.1, -1), upper=(1, 1.1, 1.2))
    turn = rng.normal(size=4) * 0.3 + np.array([1, 0, 0, 0])
    scene = lone(grid, (0.1, 0.2, 0.3), rotation=turn, translation=rng.normal(size=3) * 0.1, scale=(1.1, 0.9, 1.2))
    scene.add_light("sun", DirectionalLight((-0.3, -0.5, -1), (1.5, 1.2, 1)))
    scene.add_light("bulb", PointLight((1.5, 1, 2), 3.0))
    scene.add_light("sky", AmbientLight(0.3))
    if not color:
        scene.add_material("paint", Material("metallic_roughness", albedo=(0.7, 0.4, 0.3), roughness=0.5))
        scene["shape"].materials = ("paint",)
    return scene


@pytest.mark.row(62)
@pytest.mark.row(122)
def test_sphere_depth_falls_with_the_square_of_the_cell(f64):
    errors = []
    for n in (24, 48):
        image = render(lone(sphere_grid(n)), front(32), LevelSetRenderer())
        hit, distance = image.alpha.numpy()[..., 0] > 0, image.channel("distance").numpy()[..., 0]
        rays = _directions(front(32), 32)
        b = -(rays @ np.array([0, 0, 4.0]))
        inside = b * b - 15
        steep = (inside > 0.1) & hit
        assert steep.sum() > 100
        exact = b - np.sqrt(np.maximum(inside, 0))
        errors.append(np.abs(distance - exact)[steep].max())
        wrong = hit != (inside > 0)
        assert not wrong[np.abs(inside) > 0.05].any()
    assert errors[1] < errors[0] / 3
    assert errors[1] < 3e-3


def _directions(camera: Camera, size: int) -> np.ndarray:
    from tidr.renderers.rays import Rays

    return Rays.of_cameras([camera], size, size).directions.numpy().reshape(size, size, 3)


@pytest.mark.row(62)
@pytest.mark.row(78)
@pytest.mark.row(79)
@pytest.mark.parametrize("search", ["sphere", "uniform"])
def test_depth_by_radius_is_one_over_the_cosine(f64, search):
    """A larger radius lowers every value by as much: d depth / d r = 1 / (n . direction), -1 on the axis."""
    scene, camera = lone(sphere_grid(48)), front(17)
    renderer = LevelSetRenderer(search=search)
    found = render(scene, camera, renderer)
    hit, normal = found.alpha.numpy()[..., 0] > 0, found.normal.numpy()
    rays = _directions(camera, 17)
    expected = 1 / np.where(hit, (normal * rays).sum(-1), 1)
    assert expected[8, 8] == pytest.approx(-1, abs=0.02)
    for row, column in ((8, 8), (8, 6), (6, 9), (5, 7)):
        weights = np.zeros((17, 17, 1))
        weights[row, column] = 1
        (gradient,) = tape_gradients(
            lambda weights=weights: weighted(render(scene, camera, renderer).channel("distance"), weights),
            [scene["shape"].geometry.sdf],
        )
        assert -gradient.sum() == pytest.approx(expected[row, column], rel=0.02)


@pytest.mark.row(78)
def test_plane_height(f64):
    """f = z - h: dt/dh = 1 / direction_z exactly, for SDFDiff's step only straight on."""
    centers = cell_centers((6, 6, 6), (-2,) * 3, (2,) * 3)
    camera = Camera.look_at((0.5, 0.3, 4), (0.2, 0, 0), fov_y_degrees=20, width=8, height=8)
    rays = _directions(camera, 8)
    for mode, expected in (("exact", (1 / rays[..., 2])), ("sdfdiff", np.full((8, 8), -1.0))):
        scene = lone(VoxelGrid(sdf=centers[..., 2] - 0.3, lower=(-2,) * 3, upper=(2,) * 3))
        (gradient,) = tape_gradients(
            lambda scene=scene, mode=mode: weighted(
                render(scene, camera, LevelSetRenderer(differentiation=mode)).channel("distance"), 1.0
            ),
            [scene["shape"].geometry.sdf],
        )
        assert -gradient.sum() == pytest.approx(expected.sum(), rel=1e-9)


@pytest.mark.row(122)
def test_hits_agree_with_bisection(f32):
    scene = bumpy(3)
    node, camera = scene["shape"], front(12)
    from tidr.renderers.rays import Rays

    local = Rays.of_cameras([camera], 12, 12).to_object(scene, node)
    image = render(scene, camera, LevelSetRenderer(search="uniform", steps=400))
    distance, grid = image.channel("distance").numpy().ravel(), node.geometry
    values = grid.sdf.numpy().astype(np.float64)
    origins, directions = local.origins.numpy(), local.directions.numpy()
    for ray in range(0, 144, 5):
        times = _box(origins, directions, ray, grid)
        t = first_hit(values, origins[ray], directions[ray], *grid.bounds(), times)
        assert distance[ray] == pytest.approx(0 if np.isnan(t) else t, abs=2e-4)


def _box(origins, directions, ray, grid) -> tuple[float, float]:
    one, other = ((side - origins[ray]) / directions[ray] for side in (grid.lower, grid.upper))
    return max(np.minimum(one, other).max(), 0), max(np.maximum(one, other).min(), 0)


CHANNELS = ("rgb", "distance", "depth", "normal", "min_sdf", "probe")


def case(channel: str, seed: int):
    """(function, arrays): a weighted channel of a bumpy scene, over pixels whose hit does not jump."""
    kind = ("sdf", "occupancy")[seed % 2]
    scene = bumpy(seed, kind, color=kind == "sdf")
    camera, renderer = front(12, fov_y_degrees=30), LevelSetRenderer(steps=128, search="uniform")
    scene.add_camera("front", camera)
    grid, first = scene["shape"].geometry, render(scene, camera, renderer)
    chosen = _steep(scene, camera, renderer, first)
    if channel in ("min_sdf", "probe"):
        chosen = (first.alpha.numpy()[..., 0] == 0) & (first.channel(channel).numpy()[..., 0] < 1)
    assert chosen.sum() > 5
    weights = np.random.default_rng(seed).normal(size=first.channel(channel).shape) * chosen[..., None]
    arrays = [grid.values]
    if channel != "probe":
        arrays += [camera.position, camera.rotation, *scene["shape"].transform_parameters().values()]
    if channel == "rgb":
        arrays += [*scene.parameters("paint.*").values()] if grid.color is None else [grid.color]
        arrays += [scene["sun"].direction, scene["bulb"].position, scene["sky"].radiance]
    return lambda: weighted(render(scene, camera, renderer).channel(channel), weights), arrays


@pytest.mark.row(62)
@pytest.mark.row(78)
@pytest.mark.row(79)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("channel", CHANNELS)
def test_gradients(f64, channel, seed):
    """Grid, colours, camera, transform, lights, materials."""
    known[channel, seed] = directional_check(*case(channel, seed), f64, seed)


known: dict[tuple[str, int], list[np.ndarray]] = {}


def gradients() -> list[np.ndarray]:
    """Of what misses and, by the colours of a signed distance and of an occupancy with a material, of what hits."""
    cases = [("rgb", 0), ("min_sdf", 0), ("probe", 0), ("rgb", 1)]
    exact = known if current().precision == 64 else {}
    return [gradient for each in cases for gradient in exact.get(each) or tape_gradients(*case(*each))]


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


@pytest.mark.row(62)
@pytest.mark.row(79)
def test_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    for one, other in zip(exact, gradients(), strict=True):
        assert np.linalg.norm(one - other) <= 2e-2 * np.linalg.norm(one)


def _steep(scene, camera, renderer, image) -> np.ndarray:
    """Pixels that hit, do not graze, and whose neighbours hit."""
    hit = image.alpha.numpy()[..., 0] > 0
    cosine = -(image.normal.numpy() * _directions(camera, hit.shape[0])).sum(-1)
    inner = hit.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(hit, shift, axis)
    return inner & (cosine > 0.4)


@pytest.mark.row(79)
def test_background_has_no_gradient_without_a_mask_loss(f64):
    scene, camera = lone(sphere_grid(12, 0.4)), front(12)
    sdf, background = scene["shape"].geometry.sdf, np.zeros((12, 12, 1))
    background[:3] = 1
    image = render(scene, camera, LevelSetRenderer())
    assert not (image.alpha.numpy() * background).any()
    for channel in ("rgb", "distance", "normal"):
        (gradient,) = tape_gradients(
            lambda channel=channel: weighted(render(scene, camera, LevelSetRenderer()).channel(channel), background),
            [sdf],
        )
        assert not gradient.any()
    (gradient,) = tape_gradients(
        lambda: weighted(render(scene, camera, LevelSetRenderer()).channel("min_sdf"), background), [sdf]
    )
    assert gradient.any()


@pytest.mark.row(122)
def test_grazing_rays_stay_finite(f64):
    """Rays along a plane: the derivative is clipped, not infinite."""
    centers = cell_centers((8, 8, 8))
    scene = lone(VoxelGrid(sdf=centers[..., 1] + 1e-7 * centers[..., 2]))
    camera = Camera.look_at((0, 1e-3, 4), (0, 0, 0), fov_y_degrees=30, width=9, height=9)
    (gradient,) = tape_gradients(
        lambda: weighted(render(scene, camera, LevelSetRenderer()).channel("distance"), 1.0),
        [scene["shape"].geometry.sdf],
    )
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 81 * 1e3 * 4


@pytest.mark.parametrize(("backend", "value"), on_backends([(0.5,), (-0.5,), (0.0,)], [(0.0,)]), indirect=["backend"])
def test_no_surface_is_an_empty_image(backend, value):
    """All outside, all inside or flat zero: background everywhere, gradients finite."""
    scene = lone(VoxelGrid(sdf=np.full((4, 4, 4), value)), background=(0.1, 0.2, 0.3))
    scene.add_light("sun", DirectionalLight((0, 0, -1), 2.0))
    with Tape() as tape:
        image = render(scene, front(8), LevelSetRenderer())
        for channel in ("rgb", "distance", "normal", "min_sdf", "probe"):
            tape.add(weighted(image.channel(channel), 1.0))
    assert not image.alpha.numpy().any()
    assert np.allclose(image.rgb.numpy(), (0.1, 0.2, 0.3))
    assert np.isfinite(scene["shape"].geometry.sdf.grad_numpy()).all()


def test_one_cell_and_a_camera_inside(f32):
    scene = lone(sphere_grid(6))
    inside = Camera.look_at((0, 0, 0.1), (0, 0, -1), fov_y_degrees=60, width=6, height=6)
    assert not render(scene, inside, LevelSetRenderer()).alpha.numpy().any()
    single = lone(VoxelGrid(sdf=np.full((1, 1, 1), -1.0)))
    image = render(single, front(4), LevelSetRenderer())
    assert np.isfinite(image.rgb.numpy()).all()
    assert not image.alpha.numpy().any()


def test_faults_are_named(f32):
    with pytest.raises(SceneError, match="search"):
        LevelSetRenderer(search="guess")
    with pytest.raises(SceneError, match="grazing"):
        LevelSetRenderer(grazing=0)
    with pytest.raises(SceneError, match="voxel grid"):
        render(Scene(Film(8, 8)), front(8), LevelSetRenderer())
    with pytest.raises(SceneError, match="not finite"):
        VoxelGrid(sdf=np.full((2, 2, 2), np.nan))
    scene = lone(sphere_grid(6))
    scene.add_material("paint", Material("lambert", albedo="vertex_colors"))
    scene["shape"].materials = ("paint",)
    scene.add_light("sun", DirectionalLight((0, 0, -1), 2.0))
    with pytest.raises(SceneError, match="colours"):
        assert render(scene, front(8), LevelSetRenderer()).rgb is not None
