"""Points in a frustum's grid (Insafutdinov and Dosovitskiy 2018): twin, mass, gradients, a fit, degenerate input."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.optimizers import Adam
from tidr.fitting.tape import Tape
from tidr.parameter import Parameters
from tidr.renderers.points import PointRenderer
from tidr.renderers.points_voxelise import Voxelised
from tidr.scene.points import PointCloud

from .conftest import on_backends
from .gradients import directional_check, tape_gradients, weighted
from .reference import voxelise as twin

SIDE, SPAN = 8, (1.3, 2.7)


def camera(kind="perspective", size=(SIDE, SIDE)) -> tidr.Camera:
    place = {"fov_y_degrees": 36} if kind == "perspective" else {"height_world": 1.3}
    return tidr.Camera.look_at((0.5, 0.7, 1.8), (0.02, 0.01, 0), width=size[0], height=size[1], **place)


def cloud(seed: int, count=20, opacities=True) -> PointCloud:
    rng = np.random.default_rng(seed)
    return PointCloud(
        rng.uniform(-0.4, 0.4, (count, 3)), colors=rng.uniform(0.1, 0.9, (count, 3)),
        opacities=rng.uniform(0.3, 0.9, count) if opacities else None,
    )  # fmt: skip


def placed(geometry: PointCloud, background=(0.0, 0.0, 0.0)) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(SIDE, SIDE, background))
    scene.add_node("points", tidr.Node(geometry, rotation=(0.97, 0.1, -0.2, 0.1), scale=1.1))
    return scene


def renderer(**options) -> PointRenderer:
    return PointRenderer(splat="voxelise", **{"vox": SIDE, "depth_range": SPAN, "kernel_taps": 5} | options)


def in_world(scene: tidr.Scene) -> np.ndarray:
    world = scene.world_matrices()["points"]
    return scene["points"].geometry.positions.numpy() @ world[:3, :3].T + world[:3, 3]


@pytest.mark.row(71)
@pytest.mark.parametrize(
    ("backend", "kind", "opacities"),
    on_backends(
        [(kind, opacities) for kind in ("perspective", "orthographic") for opacities in (True, False)],
        [("perspective", True)],
    ),
    indirect=["backend"],
)
def test_pictures_equal_the_twin(kind, opacities, backend):
    """A batch of two cameras, where one grid cell is one pixel."""
    scene = placed(cloud(3, 60, opacities))
    cameras = [camera(kind), tidr.Camera.look_at((-0.4, 0.2, 2), (0, 0, 0), fov_y_degrees=40, width=SIDE, height=SIDE)]
    image = tidr.render(scene, cameras, renderer(smoothing=0.7))
    held = scene["points"].geometry
    mass = held.opacities.numpy() if opacities else np.ones((60, 1))
    amounts = np.column_stack([mass, mass * held.colors.numpy()])
    for k, each in enumerate(cameras):
        cells = twin.grid(each, SIDE, SIDE, in_world(scene), amounts, SIDE, SPAN, 0.7, 5)
        alpha, depth, colors = twin.look(cells, SPAN)
        assert 0.1 < alpha.mean() < 0.9
        assert np.allclose(image.alpha.numpy()[k, ..., 0], alpha, atol=1e-5)
        assert np.allclose(image.rgb.numpy()[k], colors, atol=1e-5)
        seen = alpha > 1e-3
        assert np.allclose(image.depth.numpy()[k, ..., 0][seen], (depth / np.maximum(alpha, 1e-9))[seen], atol=1e-4)


@pytest.mark.row(71)
def test_the_grid_holds_as_much_as_the_points_bring(f64):
    """Before the clip, and after smoothing as long as nothing reaches the border; the rest is outside."""
    scene, options = placed(PointCloud(cloud(5, 300).positions.numpy() / 2)), renderer(vox=32)
    drawn = Voxelised(options, scene, [camera()], SIDE, SIDE)
    assert drawn._scatter(None, 1).numpy().sum() == pytest.approx(300, rel=1e-5)
    assert drawn._smooth(drawn._scatter(None, 1), 1).numpy().sum() == pytest.approx(300, rel=1e-5)
    drawn = Voxelised(renderer(depth_range=(1.9, 2.7)), scene, [camera()], SIDE, SIDE)
    depths = (camera().projection(SIDE, SIDE)[0] @ np.column_stack([in_world(scene), np.ones(300)]).T)[3]
    assert drawn._scatter(None, 1).numpy().sum() == pytest.approx((depths >= 1.9).sum(), rel=1e-5)


@pytest.mark.row(71)
def test_smoothing_spreads_a_point_as_a_gaussian(f64):
    drawn = Voxelised(renderer(vox=9, smoothing=1.3, kernel_taps=7), placed(cloud(0)), [camera()], 9, 9)
    one = np.zeros((9, 9, 9))
    one[4, 4, 4] = 1
    seen = drawn._smooth(Array.of(one.reshape(-1, 1)), 1).numpy().reshape(9, 9, 9)
    line = np.exp(-0.5 * (np.arange(-3, 4) / 1.3) ** 2)
    expected = np.einsum("i,j,k->ijk", line, line, line) / line.sum() ** 3
    assert np.allclose(seen[1:8, 1:8, 1:8], expected)


@pytest.mark.row(71)
@pytest.mark.parametrize("channel", ["rgb", "alpha", "depth"])
@pytest.mark.parametrize(("seed", "kind"), [(0, "perspective"), (1, "perspective"), (2, "orthographic")])
def test_gradients_equal_differences(seed, channel, kind, f64):
    """To positions, colours and opacities, to the node's transform and to the camera.

    In 64 bits only, where no point passes a cell's centre within a difference's step.
    """
    scene, view = placed(cloud(seed)), camera(kind)
    scene.film.background = (0.3, 0.2, 0.6)
    weights = np.random.default_rng(seed).normal(size=(SIDE, SIDE, 3 if channel == "rgb" else 1))
    held, node = scene["points"].geometry, scene["points"]
    arrays = [held.positions, held.opacities, node.translation, node.rotation, node.scale]
    arrays += [view.position, view.rotation, view.focal, *([held.colors] if channel == "rgb" else [])]
    loss = lambda: weighted(tidr.render(scene, view, renderer()).channel(channel), weights)  # noqa: E731
    directional_check(loss, arrays, f64, seed)


def gradients() -> list[np.ndarray]:
    scene, view = placed(cloud(1)), camera()
    held = scene["points"].geometry
    weights = np.random.default_rng(1).normal(size=(SIDE, SIDE, 3))
    arrays = [held.positions, held.opacities, held.colors, scene["points"].scale, view.position]
    return tape_gradients(lambda: weighted(tidr.render(scene, view, renderer()).rgb, weights), arrays)


@pytest.fixture
def in_64_bits(f64) -> list[np.ndarray]:
    return gradients()


@pytest.mark.row(71)
def test_gradients_are_the_same_on_vulkan(in_64_bits, vulkan):
    """Against the tape in 64 bits: a step fit for 32 bits passes cell centres."""
    for exact, seen in zip(in_64_bits, gradients(), strict=True):
        assert np.linalg.norm(seen - exact) <= 2e-2 * np.linalg.norm(exact)


@pytest.mark.row(71)
def test_a_point_off_the_grid_has_no_gradient(backend):
    """Beside the picture, in front of it and behind; the one inside has one."""
    places = [[0.0, 0, 0], [3.0, 0, 0], [0.35, 0.49, 1.26], [-0.5, -0.7, -1.8]]
    points = PointCloud(places, colors=np.full((4, 3), 0.5))
    scene = tidr.Scene(tidr.Film(SIDE, SIDE))
    scene.add_node("points", tidr.Node(points))
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE, 1))
    loss = lambda: weighted(tidr.render(scene, camera(), renderer()).alpha, weights)  # noqa: E731
    (gradient,) = tape_gradients(loss, [points.positions])
    assert gradient[0].any()
    assert not gradient[1:].any()


@pytest.mark.row(71)
def test_a_full_cell_has_no_gradient(f64):
    """Where points bring more than 1 the occupancy is clipped."""
    points = PointCloud(np.zeros((4000, 3)), opacities=1.0)
    scene = placed(points)
    weights = np.zeros((SIDE, SIDE, 1))
    alpha = tidr.render(scene, camera(), renderer(smoothing=0.1)).alpha.numpy()
    weights[np.unravel_index(alpha.argmax(), alpha.shape)] = 1
    loss = lambda: weighted(tidr.render(scene, camera(), renderer(smoothing=0.1)).alpha, weights)  # noqa: E731
    assert alpha.max() > 0.9999
    assert np.abs(tape_gradients(loss, [points.opacities])[0]).max() < 1e-20


@pytest.mark.parametrize("size", [(24, 16), (5, 3), (8, 8)])
def test_pictures_of_another_size_are_interpolated(size, f64):
    """The mean of a picture stays about that of the grid's rays, and its gradient is exact."""
    scene, view = placed(cloud(2)), camera(size=size)
    options = renderer(vox=8)
    weights = np.random.default_rng(3).normal(size=(size[1], size[0], 3))
    loss = lambda: weighted(tidr.render(scene, view, options).rgb, weights)  # noqa: E731
    directional_check(loss, [scene["points"].geometry.colors, scene["points"].geometry.opacities], f64)
    held = scene["points"].geometry
    cells = twin.grid(view, *size, in_world(scene), held.opacities.numpy(), 8, SPAN, 1.0, 5)
    rays = twin.look(cells, SPAN)[0]
    columns, rows = ((np.arange(n) + 0.5) * 8 / n - 0.5 for n in size)
    expected = np.array([[_between(rays, x, y) for x in columns] for y in rows])
    assert np.allclose(tidr.render(scene, view, options).alpha.numpy()[..., 0], expected, atol=1e-9)


def _between(rays: np.ndarray, x: float, y: float) -> float:
    x, y = np.clip([x, y], 0, len(rays) - 1)
    across = [np.interp(x, np.arange(rays.shape[1]), line) for line in rays]
    return float(np.interp(y, np.arange(len(rays)), across))


@pytest.mark.row(71)
def test_points_find_their_silhouettes(f32):
    """A ball of points moves onto another by masks alone, and nothing is allocated after two steps."""
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(300, 3))
    ball = directions / np.linalg.norm(directions, axis=1)[:, None] * rng.uniform(0, 0.3, (300, 1))
    cameras = tidr.orbit(4, 2.0, fov_y_degrees=36, width=24, height=24)
    options = PointRenderer(splat="voxelise", vox=24, smoothing=1.0)
    scene = placed(PointCloud(ball + np.array([0.1, -0.08, 0.05])))
    targets = tidr.render(scene, cameras, options).alpha.numpy()
    moved = PointCloud(ball)
    scene["points"].geometry = moved
    optimizer, made = Adam(Parameters({"positions": moved.positions}), lr=5e-3), 0
    for step in range(60):
        if step == 2:
            made = buffer.allocations
        with Tape() as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, cameras, options).alpha, targets))
        optimizer.step()
    assert buffer.allocations == made
    assert np.abs(moved.positions.numpy().mean(0) - ball.mean(0) - [0.1, -0.08, 0.05]).max() < 0.02


def degenerate() -> dict[str, np.ndarray]:
    return {
        "one": np.zeros((1, 3)),
        "one place": np.zeros((50, 3)),
        "behind": np.full((3, 3), 9.0),
        "at the eye": np.array([[0.5, 0.7, 1.8]]),
        "far": np.full((3, 3), 1e9),
    }


@pytest.mark.parametrize(
    ("backend", "name"),
    on_backends([(name,) for name in degenerate()], [(name,) for name in list(degenerate())[:1]]),
    indirect=["backend"],
)
def test_degenerate_points_give_finite_pictures_and_gradients(name, backend):
    points = PointCloud(degenerate()[name], opacities=1.0)
    scene = placed(points, (0.2, 0.3, 0.4))

    def loss():
        image = tidr.render(scene, camera(), renderer(smoothing=0.01))
        for array in (image.rgb, image.alpha, image.depth):
            assert np.isfinite(array.numpy()).all()
        return weighted(image.rgb, 1.0)

    arrays = [points.positions, points.opacities, scene["points"].scale]
    assert all(np.isfinite(gradient).all() for gradient in tape_gradients(loss, arrays))


def test_bad_options_are_refused_by_name():
    bad = {"vox": 1, "smoothing": 0.0, "kernel_taps": 4, "depth_range": (2.0, 1.0)}
    for name, value in bad.items():
        with pytest.raises(SceneError, match=rf"renderer\.{name}"):
            renderer(**{name: value})
