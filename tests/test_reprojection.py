"""Inverse warping: landings against a homography, bilinear samples, masks, gradients to all that moves a landing."""

import numpy as np
import pytest

import tidr
import tidr.buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.parameter import Parameter
from tidr.renderers.reprojection import Reprojection

from .gradients import directional_check, tape_gradients, weighted

HEIGHT, WIDTH, SIZE = 6, 8, (7, 9)


def rig(kind: str = "perspective", count: int = 2) -> tuple[tidr.Camera, list[tidr.Camera]]:
    """A camera and `count` others near it, all looking at the plane z = 0 from about 3 away."""
    lens = {"fov_y_degrees": 40} if kind == "perspective" else {"height_world": 2.2}
    eyes = ((0.05, 0.1, 3.0), (0.3, 0.12, 2.9), (-0.2, -0.05, 3.1))[: count + 1]
    made = [
        tidr.Camera.look_at(eye, (0, 0.02 * n, 0), width=WIDTH, height=HEIGHT, **lens) for n, eye in enumerate(eyes)
    ]
    made[0].principal_point.set([4.1, 2.8])
    return made[0], made[1:]


def depths(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return 3 + 0.3 * np.random.default_rng(seed).normal(size=(height, width, 1))


def homography(camera: tidr.Camera, source: tidr.Camera, depth: float, size: tuple[int, int]) -> np.ndarray:
    """[3, 3] pixels of the camera to pixels of the source, for the plane at this depth in front of the camera.

    In OpenCV axes K_s (R + t n^T / d) K^-1 with n the viewing axis; it shares no line with the code under test.
    """
    flip = np.diag([1.0, -1, -1, 1])

    def parts(one: tidr.Camera, height: int, width: int):
        sx, sy = width / one.width, height / one.height
        fx, fy = one.focal.numpy()
        cx, cy = one.principal_point.numpy()
        K = np.array([[fx * sx, 0, cx * sx], [0, fy * sy, cy * sy], [0, 0, 1]])
        return K, np.linalg.inv(one.camera_to_world @ flip)

    K, to_camera = parts(camera, HEIGHT, WIDTH)
    K_source, to_source = parts(source, *size)
    move = to_source @ np.linalg.inv(to_camera)
    plane = move[:3, :3] + np.outer(move[:3, 3], [0, 0, 1]) / depth
    return K_source @ plane @ np.linalg.inv(K)


@pytest.mark.row(72, 73)
def test_a_plane_at_a_known_depth_lands_where_its_homography_says(f64):
    camera, sources = rig()
    depth = 2.7
    warp = Reprojection(Array.of(np.full((HEIGHT, WIDTH, 1), depth)), camera, sources, SIZE)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1)
    for source, found in zip(sources, warp.coordinates(), strict=True):
        expected = pixels @ homography(camera, source, depth, SIZE).T
        expected = expected[..., :2] / expected[..., 2:]
        assert np.abs(found - expected).max() < 1e-9


def test_the_same_camera_samples_its_own_picture_and_depth(f64):
    camera, _ = rig()
    picture = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 3))
    depth = depths()
    warp = Reprojection(Array.of(depth), camera, [camera])
    assert warp.valid.numpy().all()
    assert np.abs(warp.sample(picture).numpy()[0] - picture).max() < 1e-3
    assert np.abs(warp.depth.numpy()[0] - depth).max() < 1e-5


def test_samples_are_bilinear(f64):
    camera, sources = rig()
    pictures = np.random.default_rng(1).uniform(size=(2, *SIZE, 2))
    warp = Reprojection(Array.of(depths()), camera, sources, SIZE)
    places, valid, found = warp.coordinates() - 0.5, warp.valid.numpy()[..., 0] > 0, warp.sample(pictures).numpy()
    assert 0 < valid.sum() < valid.size
    assert not found[~valid].any()
    for view, row, column in np.argwhere(valid):
        x, y = places[view, row, column]
        weights = (
            np.maximum(0, 1 - np.abs(x - np.arange(SIZE[1])))
            * np.maximum(0, 1 - np.abs(y - np.arange(SIZE[0])))[:, None]
        )
        assert found[view, row, column] == pytest.approx((weights[..., None] * pictures[view]).sum((0, 1)), abs=1e-9)


def test_what_is_not_in_frame_or_in_front_is_not_valid(f64):
    camera, _ = rig()
    depth = depths()
    depth[2, 3] = 0  # not known
    beside = tidr.Camera.look_at((0, 0, 3), (0.7, 0, 0), fov_y_degrees=40, width=WIDTH, height=HEIGHT)
    behind = tidr.Camera.look_at((0, 0, -3), (0, 0, -9), fov_y_degrees=40, width=WIDTH, height=HEIGHT)
    warp = Reprojection(Array.of(depth), camera, [camera, beside, behind])
    valid = warp.valid.numpy()[..., 0]
    assert valid[0].sum() == HEIGHT * WIDTH - 1
    assert valid[0, 2, 3] == 0
    x, y = np.moveaxis(warp.coordinates()[1], -1, 0)
    inside = (x >= 0.5) & (x <= WIDTH - 0.5) & (y >= 0.5) & (y <= HEIGHT - 0.5)
    inside[2, 3] = False
    assert 0 < inside.sum() < inside.size
    assert (valid[1] > 0).tolist() == inside.tolist()
    assert not valid[2].any()


def moving(kind: str):
    """The arrays that move a landing, and a weighted sum of sampled pictures and depths."""
    rng = np.random.default_rng(5)
    camera, sources = rig(kind)
    depth = Parameter(depths(3))
    # Coarse enough that no landing crosses a pixel centre of the smooth pictures within a difference.
    pictures = Parameter(rng.uniform(size=(2, *SIZE, 3)))
    weights, more = rng.normal(size=(2, HEIGHT, WIDTH, 3)), rng.normal(size=(2, HEIGHT, WIDTH, 1))

    def sampled():
        return weighted(Reprojection(depth, camera, sources, SIZE).sample(pictures), weights)

    def deep():
        warp = Reprojection(depth, camera, sources, SIZE)
        return weighted(warp.depth, more * warp.valid.numpy())

    lenses = [p for one in (camera, *sources) for p in one.parameters().values()]
    return sampled, deep, depth, pictures, lenses


@pytest.mark.row(72, 73)
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_of_samples(kind, seed, f64):
    sampled, _, depth, pictures, lenses = moving(kind)
    directional_check(sampled, [depth, pictures, *lenses], f64, seed)


@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_gradients_of_depths_in_the_sources(kind, f64):
    _, deep, depth, _, lenses = moving(kind)
    moved = [p for p in lenses if p.grad is not None]
    directional_check(deep, [depth, *moved], f64)


def gradients() -> list[np.ndarray]:
    """Of a perspective and of an orthographic view."""
    found = []
    for kind in ("perspective", "orthographic"):
        sampled, deep, depth, pictures, lenses = moving(kind)
        found += tape_gradients(sampled, [depth, pictures, *lenses]) + tape_gradients(deep, [depth, *lenses])
    return found


@pytest.fixture
def in_64_bits(f64) -> list[np.ndarray]:
    return gradients()


def test_gradients_on_vulkan_are_those_in_double_precision(in_64_bits, vulkan):
    for one, two in zip(gradients(), in_64_bits, strict=True):
        assert np.linalg.norm(one - two) <= 2e-2 * max(np.linalg.norm(two), 1e-6)


def test_a_pixel_that_is_not_valid_moves_nothing(f64):
    camera, sources = rig(count=1)
    start = depths()
    start[1, 1] = 0
    depth = Parameter(start)
    (gradient,) = tape_gradients(
        lambda: weighted(
            Reprojection(depth, camera, sources).sample(np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 3))), 1.0
        ),
        [depth],
    )
    assert np.isfinite(gradient).all()
    assert gradient[1, 1, 0] == 0
    assert gradient.any()


NEAR, HALF = 1.5, 0.4  # a square in front of a wall at z = 0: its z and half its side


def two_planes(width: int = 48, height: int = 32):
    """The square and the wall, three cameras side by side 4 in front of the wall, and the depths that they see."""
    scene = tidr.Scene(tidr.Film(width, height))
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    for name, half, z in (("square", HALF, NEAR), ("wall", 3, 0)):
        mesh = tidr.Mesh(half * corners + [0, 0, z], [[0, 1, 2], [0, 2, 3]])
        scene.add_node(name, tidr.Node(mesh))
    lens = {"fov_y_degrees": 40, "width": width, "height": height}
    cameras = [tidr.Camera.look_at((x, 0, 4), (x, 0, 0), **lens) for x in (0.0, 0.8, -0.8)]
    drawn = tidr.render(scene, cameras, tidr.Rasterizer(edges="none", channels=("alpha",)))
    return scene, cameras, drawn.depth.numpy()


def in_the_way(camera: tidr.Camera, source: tidr.Camera, depth: np.ndarray) -> np.ndarray:
    """[H, W] how far inside the square (outside: below 0) the line from a source to each pixel's wall point passes."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]] + 0.5
    (fx, fy), (cx, cy), d = camera.focal.numpy(), camera.principal_point.numpy(), depth[..., 0]
    at = camera.position.numpy() + np.stack([(columns - cx) / fx * d, -(rows - cy) / fy * d, -d], -1)
    eye = source.position.numpy()
    with np.errstate(divide="ignore"):
        crossing = eye + (at - eye) * ((NEAR - eye[2]) / (at[..., 2] - eye[2]))[..., None]
    return np.where(at[..., 2] < 1e-3, HALF - np.abs(crossing[..., :2]).max(-1), -np.inf)


@pytest.mark.row(72)
def test_what_a_source_does_not_see_is_told_by_its_depth_map(f64):
    _, cameras, depth = two_planes()
    warp = Reprojection(Array.of(depth[0]), cameras[0], cameras[1:])
    seen, valid = warp.visible(depth[1:]).numpy()[..., 0] > 0, warp.valid.numpy()[..., 0] > 0
    pixel = (4 - NEAR) / cameras[0].focal.numpy()[1]
    for view, source in enumerate(cameras[1:]):
        inside = in_the_way(cameras[0], source, depth[0])
        clear = valid[view] & (np.abs(inside) > 1.5 * pixel)  # nearer to the outline the bilinear depth mixes both
        hidden = inside > 0
        assert hidden[clear].sum() > 20
        assert (seen[view] == ~hidden)[clear].all()
        assert not seen[view][~valid[view]].any()


def test_missing_depths_are_not_visible(f64):
    camera, sources = rig(count=1)
    warp = Reprojection(Array.of(depths()), camera, sources)
    known = np.full((1, HEIGHT, WIDTH, 1), 2.0)
    assert not warp.visible(known).numpy().any()  # everything is behind
    everywhere = warp.visible(known, np.inf).numpy()
    assert everywhere.tolist() == warp.valid.numpy().tolist()
    known[0, 3, 4] = 0
    x, y = np.moveaxis(warp.coordinates()[0] - 0.5, -1, 0)
    near = (np.abs(x - 4) < 1) & (np.abs(y - 3) < 1)
    lost = (everywhere - warp.visible(known, np.inf).numpy())[0, ..., 0] > 0
    assert near.any()
    assert lost.tolist() == (near & (everywhere[0, ..., 0] > 0)).tolist()


def test_gradient_reaches_a_rendered_depth(f64):
    """A depth channel of the rasterizer is as good as a map: what the mesh does moves the landing."""
    scene, cameras, _ = two_planes(24, 16)
    pictures = np.random.default_rng(2).uniform(size=(2, 16, 24, 3))
    node = scene["wall"]
    params = scene.parameters("wall.translation")
    weights = np.random.default_rng(3).normal(size=(2, 16, 24, 3))

    def function():
        image = tidr.render(scene, cameras[0], tidr.Rasterizer(edges="none", channels=("alpha",)))
        return weighted(Reprojection(image.depth, cameras[0], cameras[1:]).sample(pictures), weights)

    node.translation.set([0.013, 0.007, 0.011])
    directional_check(function, list(params.values()), f64)


def test_nothing_is_allocated_after_the_second_turn(f32):
    camera, sources = rig()
    depth, picture = Parameter(depths()), Array.of(np.random.default_rng(0).uniform(size=(2, HEIGHT, WIDTH, 3)), False)
    counts = []
    for _ in range(4):
        with Tape() as tape:
            tape.add(weighted(Reprojection(depth, camera, sources).sample(picture), 1.0))
        counts.append(tidr.buffer.allocations)
    assert counts[1] == counts[3]


@pytest.mark.parametrize(
    ("depth", "count", "size", "message"),
    [
        ((4, 4), 1, None, r"\[H, W, 1\]"),
        ((4, 4, 3), 1, None, r"\[H, W, 1\]"),
        ((4, 4, 1), 0, None, "no source"),
        ((4, 4, 1), 1, (1, 8), "2 pixels"),
    ],
)
def test_other_input_is_refused(depth, count, size, message, f32):
    camera, sources = rig()
    with pytest.raises(SceneError, match=message):
        Reprojection(Array.of(np.ones(depth)), camera, sources[:count], size)


def test_pictures_of_another_shape_are_refused(f32):
    camera, sources = rig()
    warp = Reprojection(Array.of(depths()), camera, sources)
    for picture in (np.ones((HEIGHT, WIDTH, 3)), np.ones((2, HEIGHT, WIDTH + 1, 3))):
        with pytest.raises(SceneError, match="pictures of shape"):
            warp.sample(picture)
    with pytest.raises(SceneError, match="one channel"):
        warp.visible(np.ones((2, HEIGHT, WIDTH, 3)))
