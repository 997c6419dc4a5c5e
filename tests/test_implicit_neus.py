"""NeuS on a grid: weights that peak on the surface, sum to one, and gradients."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.renderers.neus import NeusRenderer
from tidr.renderers.rays import Rays
from tidr.renderers.renderer import render
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.neus import NeusGrid
from tidr.scene.voxels import VoxelGrid, cell_centers

from .conftest import on_backends
from .gradients import directional_check, tape_gradients, weighted
from .reference.implicit import neus, trilinear
from .test_level_set import front


def lone(grid: NeusGrid, **place) -> Scene:
    scene = Scene(Film(16, 16, (0.2, 0.3, 0.1)))
    scene.add_node("shape", Node(grid, **place))
    return scene


def bumpy(seed: int, inverse_std: float = 12.0) -> Scene:
    rng = np.random.default_rng(seed)
    centers = cell_centers((7, 8, 9), (-1.2, -1.1, -1), (1, 1.1, 1.2))
    values = np.linalg.norm(centers, axis=-1) - 0.6 + 0.05 * rng.normal(size=centers.shape[:3])
    colors = rng.uniform(0.1, 0.9, (7, 8, 9, 3)) if seed % 2 == 0 else None
    grid = NeusGrid(values, colors, inverse_std, lower=(-1.2, -1.1, -1), upper=(1, 1.1, 1.2))
    return lone(grid, rotation=(1, 0.2, 0.1, 0.3), translation=(0.1, 0, 0.1), scale=(1.1, 0.9, 1))


def case(seed: int):
    scene, camera = bumpy(seed), front(8, fov_y_degrees=36)
    grid, rng = scene["shape"].geometry, np.random.default_rng(seed)
    renderer = NeusRenderer(steps=12)
    weights = {name: rng.normal(size=(8, 8, n)) for name, n in (("rgb", 3), ("alpha", 1), ("depth", 1), ("normal", 3))}
    seen = render(scene, camera, renderer).alpha.numpy() > 0.05
    weights["depth"] *= seen
    weights["normal"] *= seen

    def function():
        image = render(scene, camera, renderer)
        return weighted(_joined(*(image.channel(name) for name in weights)), np.concatenate([*weights.values()], -1))

    arrays = [*grid.parameters().values(), camera.position, camera.rotation]
    return function, [*arrays, *scene["shape"].transform_parameters().values()]


def _joined(*arrays):
    """Channels side by side."""
    from tidr.array import Array
    from tidr.fitting.tape import Operation, run

    out = Array((*arrays[0].shape[:-1], sum(array.channels for array in arrays)))
    edges = np.cumsum([0, *(array.channels for array in arrays)])

    def forward() -> None:
        out.set(np.concatenate([array.numpy() for array in arrays], -1))

    def backward() -> None:
        for array, low, high in zip(arrays, edges[:-1], edges[1:], strict=True):
            array.set_grad(array.grad_numpy() + out.grad_numpy()[..., low:high])

    run(Operation(forward, backward, arrays, [out], "joined"))
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients(f64, seed):
    directional_check(*case(seed), f64, seed)


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return tape_gradients(*case(0))


def test_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    """Of a grid with colours."""
    for one, other in zip(exact, tape_gradients(*case(0)), strict=True):
        assert np.linalg.norm(one - other) <= 2e-2 * np.linalg.norm(one)


def test_weights_of_a_plane_peak_on_it_and_sum_to_one(f64):
    """Unbiased: the largest weight is at f = 0 whatever the slope of the ray, and depth is that of the plane."""
    for slant in (1.0, 0.6, 0.3):
        f = np.linspace(0.8, -0.8, 1601) * slant
        weights, _ = neus(f, np.ones((1600, 3)), 60.0)
        assert weights.sum() == pytest.approx(1, abs=1e-6)
        assert abs(f[weights.argmax()]) <= 1.01 * slant * 1e-3
    centers = cell_centers((16, 16, 16))
    scene = lone(NeusGrid(centers[..., 2] - 0.1, inverse_std=80.0))
    image = render(scene, front(9, fov_y_degrees=10), NeusRenderer(steps=400))
    assert np.allclose(image.alpha.numpy(), 1, atol=1e-4)
    assert np.allclose(image.depth.numpy(), 3.9, atol=2e-3)


def test_normals_of_a_ball_point_from_its_centre(f64):
    """Also where the node is turned and stretched: an ellipsoid's normals are those of its implicit function."""
    centers, scale = cell_centers((32, 32, 32)), np.array([1.2, 0.8, 1.0])
    turn = np.array([np.cos(0.4), 0, 0, np.sin(0.4)])  # about z
    grid = NeusGrid(np.linalg.norm(centers, axis=-1) - 0.6, inverse_std=150.0)
    scene, camera = lone(grid, rotation=turn, scale=tuple(scale)), front(16, fov_y_degrees=26)
    image = render(scene, camera, NeusRenderer(steps=300))
    rays = Rays.of_cameras([camera], 16, 16)
    points = rays.origins.numpy() + image.channel("distance").numpy().reshape(-1, 1) * rays.directions.numpy()
    c, s = np.cos(0.8), np.sin(0.8)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    expected = (points @ rotation) / scale**2 @ rotation.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    normal = image.normal.numpy().reshape(-1, 3)
    solid = image.alpha.numpy().ravel() > 0.999
    assert solid.sum() > 60
    assert ((normal * expected).sum(1)[solid] > 0.995).all()
    assert (image.alpha.numpy() == 0).any()
    assert (np.linalg.norm(normal[image.alpha.numpy().ravel() == 0], axis=1) == 0).all()


def test_agrees_with_numpy(f64):
    scene, camera = bumpy(0), front(6, fov_y_degrees=30)
    grid = scene["shape"].geometry
    rays = Rays.of_cameras([camera], 6, 6).to_object(scene, scene["shape"])
    image = render(scene, camera, NeusRenderer(steps=32))
    origins, directions = rays.origins.numpy(), rays.directions.numpy()
    for ray in (7, 14, 15, 21, 28):
        one, other = ((side - origins[ray]) / directions[ray] for side in grid.bounds())
        t = np.linspace(np.minimum(one, other).max(), np.maximum(one, other).min(), 33)
        points = origins[ray] + t[:, None] * directions[ray]
        f = trilinear(grid.sdf.numpy(), points, *grid.bounds())
        middles = (points[1:] + points[:-1]) / 2
        colors = np.stack([trilinear(grid.color.numpy()[..., c], middles, *grid.bounds()) for c in range(3)], -1)
        weights, color = neus(f, colors, 12.0)
        expected = color + (1 - weights.sum()) * np.array([0.2, 0.3, 0.1])
        assert np.allclose(image.rgb.numpy().reshape(-1, 3)[ray], expected, atol=1e-9)


@pytest.mark.parametrize(("backend", "value"), on_backends([(0.5,), (-0.5,), (0.0,)], [(0.0,)]), indirect=["backend"])
def test_no_surface_is_the_background(backend, value):
    scene, renderer = lone(NeusGrid(np.full((4, 4, 4), value))), NeusRenderer(steps=12)
    with Tape() as tape:
        image = render(scene, front(6), renderer)
        tape.add(weighted(image.rgb, 1.0))
    assert all(np.isfinite(p.grad_numpy()).all() for p in scene["shape"].geometry.parameters().values())
    assert np.allclose(image.rgb.numpy(), (0.2, 0.3, 0.1), atol=1e-3)


def test_extreme_sharpness_stays_finite(f32):
    scene = bumpy(0, inverse_std=1e6)
    grid = scene["shape"].geometry
    gradients = tape_gradients(
        lambda: weighted(render(scene, front(8), NeusRenderer()).rgb, 1.0), [*grid.parameters().values()]
    )
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_faults_are_named(f32):
    with pytest.raises(SceneError, match="inverse_std"):
        NeusGrid(np.zeros((2, 2, 2)), inverse_std=0)
    with pytest.raises(SceneError, match="steps"):
        NeusRenderer(steps=0)
    scene = Scene(Film(8, 8))
    scene.add_node("plain", Node(VoxelGrid(sdf=np.zeros((2, 2, 2)))))
    with pytest.raises(SceneError, match="NeusGrid"):
        render(scene, front(8), NeusRenderer())
