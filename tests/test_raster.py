"""The hard rasterizer: against its numpy twin, closed forms, determinism, and gradients of every channel."""

import numpy as np
import pytest

import tidr
from tidr.buffer import Buffer
from tidr.kernels.raster.footprint import footprint
from tidr.renderers import geometry
from tidr.renderers.entries import project_points
from tidr.renderers.views import Views
from tidr.renderers.visibility import find

from .everything import blob, everything
from .gradients import directional_check, weighted
from .reference import raster as twin

PLAIN = tidr.Rasterizer(edges="none", channels=("depth",))


def soup(rng, triangles: int, spread: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Loose triangles of about `size` within a box of half extent `spread`."""
    centres = rng.uniform(-spread, spread, (triangles, 1, 3))
    return (centres + rng.normal(size=(triangles, 3, 3)) * size).reshape(-1, 3), np.arange(3 * triangles).reshape(-1, 3)


def random_scene(seed: int, near: float) -> tuple[tidr.Scene, list[tidr.Camera], int, int, bool]:
    """Loose triangles around the camera and a closed mesh, under transforms; one to three views; odd sizes."""
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(5, 40, 2))
    scene = tidr.Scene()
    scene.add_node("root", tidr.Node(None, (), None, rng.normal(size=3) * 0.2, rng.normal(size=4), 1.2))
    scene.add_node("soup", tidr.Node(tidr.Mesh(*soup(rng, 30, 2.0, 0.7)), (), "root", (0, 0, 0), rng.normal(size=4)))
    scene.add_node("blob", tidr.Node(tidr.Mesh(*blob(seed)), (), None, rng.normal(size=3), scale=(0.6, 0.9, 0.7)))
    views = []
    for _ in range(1 + seed % 3):
        kind = {"height_world": 3.0} if rng.random() < 0.3 else {"fov_y_degrees": rng.uniform(20, 100)}
        eye = rng.normal(size=3) * (1.5 if seed % 2 else 0.5)
        kind["far"] = 3.0 if seed % 4 == 0 else 1e6
        views.append(tidr.Camera.look_at(eye, rng.normal(size=3), width=width, height=height, near=near, **kind))
    return scene, views, width, height, seed % 5 == 0


def tie_scene(seed: int) -> tuple[tidr.Scene, list[tidr.Camera], int, int, bool]:
    """Dyadic triangles through pixel centres: shared edges, duplicates in any corner order, coplanar overlaps."""
    rng = np.random.default_rng(seed)
    width, height = 24, 17
    grid = rng.integers(-24, 25, (20, 3, 2)) / 16
    slopes = rng.choice([-0.5, -0.25, 0, 0, 0.25, 0.5], (20, 1, 2))
    depth = (grid * slopes).sum(-1) + rng.integers(0, 3, (20, 1)) / 2
    corners = np.concatenate([grid, depth[..., None]], -1)
    corners[5:10] = corners[rng.integers(0, 5, 5)]  # duplicates
    corners[10:13, :, 2] = 0.5  # coplanar overlaps, turned and mirrored
    corners[13:16] = np.roll(corners[10:13], 1, axis=1)
    corners[16:19] = corners[10:13, ::-1]
    corners = corners[rng.permutation(20)]
    vertices, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    scene = tidr.Scene()
    scene.add_node("flat", tidr.Node(tidr.Mesh(vertices, index.reshape(-1, 3))))
    camera = tidr.Camera((0, 0, 8), (1, 0, 0, 0), (8, 8), (width / 2, height / 2), width, height, "orthographic")
    return scene, [camera], width, height, seed % 5 == 0


def drawn(scene, cameras, width, height, cull_back=False) -> tidr.Image:
    renderer = tidr.Rasterizer(edges="none", channels=("depth",), cull_back=cull_back)
    return tidr.render(scene, cameras, renderer, width, height)


@pytest.mark.row(16)
@pytest.mark.row(118)
@pytest.mark.row(124)
@pytest.mark.parametrize("make", [lambda seed: random_scene(seed, 0.01), tie_scene], ids=["random", "ties"])
def test_hard_raster_equals_brute_force(f64, make):
    covered = 0
    for seed in range(60):
        scene, cameras, width, height, cull_back = make(seed)
        image = drawn(scene, cameras, width, height, cull_back)
        ids, depth, bary = image.ids, image.depth.numpy()[..., 0], image.barycentrics.numpy()
        for view, camera in enumerate(cameras):
            expected = twin.draw(scene, camera, width, height, cull_back=cull_back)
            np.testing.assert_array_equal(ids[view], expected.ids, err_msg=f"seed {seed}, view {view}")
            np.testing.assert_allclose(depth[view], expected.depth, rtol=1e-7, err_msg=f"seed {seed}, view {view}")
            np.testing.assert_allclose(bary[view], expected.barycentrics, rtol=1e-6, atol=1e-6)
            covered += (expected.ids >= 0).sum()
    assert covered > 12_000


@pytest.mark.row(124)
def test_ten_thousand_binned_faces_equal_brute_force(f64):
    scene = tidr.Scene()
    mesh = tidr.Mesh(*tidr.icosphere(4))
    scene.add_node("left", tidr.Node(mesh, (), None, (-0.4, 0.1, 0)))
    scene.add_node("right", tidr.Node(mesh, (), None, (0.4, 0, 0.3), scale=0.8))
    camera = tidr.Camera.look_at((0.2, 0.4, 3), (0, 0, 0), fov_y_degrees=50, width=72, height=50)
    image = tidr.render(scene, camera, PLAIN)
    expected = twin.draw(scene, camera, 72, 50)
    assert scene["left"].mesh.topology.face_count * 2 > 10_000
    np.testing.assert_array_equal(image.ids, expected.ids)
    np.testing.assert_allclose(image.depth.numpy()[..., 0], expected.depth, rtol=1e-9)


def interior(scene, camera, width: int, height: int, reach: float) -> tuple[np.ndarray, twin.Raster]:
    """Pixels [H, W] whose triangle stays the same when pixel centres move by `reach` pixels; and the twin's picture."""
    middle = twin.draw(scene, camera, width, height)
    steady = np.ones_like(middle.ids, bool)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)):
        moved = twin.draw(scene, camera, width, height, offset=(dx * reach, dy * reach))
        steady &= moved.ids == middle.ids
    return steady, middle


def check_single_precision(seeds=range(0, 60, 5)) -> None:
    """Interior pixels agree; at most 0.1 % of all flip, and about as many to the left as to the right of the truth."""
    pixels = flips = gained = lost = 0
    for seed in seeds:
        scene, cameras, width, height, _ = random_scene(seed, 0.1)
        image = drawn(scene, cameras, width, height)
        for view, camera in enumerate(cameras):
            steady, expected = interior(scene, camera, width, height, 0.02)
            ids, depth = image.ids[view], image.depth.numpy()[view, ..., 0]
            wrong = ids != expected.ids
            assert not (wrong & steady).any(), f"seed {seed}, view {view}"
            same = ~wrong & steady
            np.testing.assert_allclose(depth[same], expected.depth[same], rtol=2e-3)
            assert (np.abs(depth - expected.depth)[same] <= 1e-5 * expected.depth[same]).mean() > 0.97
            pixels, flips = pixels + ids.size, flips + wrong.sum()
            gained += (ids[wrong] > expected.ids[wrong]).sum()
            lost += (ids[wrong] < expected.ids[wrong]).sum()
    assert pixels > 650 * len(seeds)
    assert flips <= 1e-3 * pixels
    assert abs(int(gained) - int(lost)) <= 4 + 3 * np.sqrt(flips)


@pytest.mark.row(16)
def test_single_precision_differs_only_at_boundaries_on_cpu(f32):
    check_single_precision()


@pytest.mark.row(16)
def test_single_precision_differs_only_at_boundaries_on_vulkan(vulkan):
    check_single_precision(range(0, 60, 20))


def gradients_of_a_render(scene, cameras, renderer) -> list[np.ndarray]:
    target = np.full((len(cameras), 32, 32, 3), 0.3)
    with tidr.Tape() as tape:
        image = tidr.render(scene, cameras, renderer, 32, 32)
        tape.add(tidr.losses.mse(image, target))
        tape.add(tidr.losses.l1(image.alpha, np.full((len(cameras), 32, 32, 1), 0.5)))
    return [image.rgb.numpy(), image.alpha.numpy(), *(p.grad_numpy() for p in scene.parameters().values())]


@pytest.mark.parametrize("edges", ["none", "antialias", "soft"])
def test_the_same_render_twice_is_equal_bit_for_bit(f64, edges):
    scene = everything()
    cameras = tidr.orbit(3, 3.2, width=32, height=32, fov_y_degrees=45)
    renderer = tidr.Rasterizer(edges=edges, sigma=1e-3)
    first = gradients_of_a_render(scene, cameras, renderer)
    gradients_of_a_render(scene, cameras[:1], renderer)
    for one, two in zip(first, gradients_of_a_render(scene, cameras, renderer), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_order_of_triangles_only_renames_them(f64):
    rng = np.random.default_rng(3)
    for seed in (1, 7, 13):
        scene, cameras, width, height, _ = random_scene(seed, 0.01)
        vertices, faces = scene["soup"].vertices.numpy(), scene["soup"].faces
        order = rng.permutation(len(faces))
        shuffled = tidr.Scene()
        shuffled.add_node("root", scene["root"])
        turn = scene["soup"].rotation.numpy()
        shuffled.add_node("soup", tidr.Node(tidr.Mesh(vertices, faces[order]), (), "root", (0, 0, 0), turn))
        shuffled.add_node("blob", scene["blob"])
        first, second = drawn(scene, cameras, width, height), drawn(shuffled, cameras, width, height)
        renamed = np.concatenate([order, np.arange(len(faces), len(faces) + 80), [-1]])
        np.testing.assert_array_equal(renamed[second.ids], first.ids)
        np.testing.assert_array_equal(second.depth.numpy(), first.depth.numpy())


def test_equally_near_triangles_go_to_the_lower_id(f64):
    ties = 0
    for seed in range(10):
        scene, cameras, width, height, _ = tie_scene(seed)
        faces = scene["flat"].faces
        turned = tidr.Scene()
        turned.add_node("flat", tidr.Node(tidr.Mesh(scene["flat"].vertices.numpy(), faces[::-1])))
        first, second = drawn(scene, cameras, width, height), drawn(turned, cameras, width, height)
        other = np.where(second.ids >= 0, len(faces) - 1 - second.ids, -1)
        assert (first.ids <= other).all()
        np.testing.assert_allclose(first.depth.numpy(), second.depth.numpy(), rtol=1e-14)
        ties += (first.ids < other).sum()
    assert ties > 200


@pytest.mark.row(17)
@pytest.mark.row(4)
def test_interpolation_is_perspective_correct(f64):
    # A floor y = -1 that carries its own x and z: every pixel's ray meets it at t = -1 / ray.y.
    floor = np.array([[-9, -1, 2], [9, -1, 2], [9, -1, -40], [-9, -1, -40]], float)
    scene = tidr.Scene()
    mesh = tidr.Mesh(floor, [[0, 1, 2], [0, 2, 3]], attributes={"place": floor}, uvs=floor[:, [0, 2]] / 8)
    scene.add_node("floor", tidr.Node(mesh))
    camera = tidr.Camera((0, 0, 0), (1, 0, 0, 0), (20, 20), (12, 6), 24, 18)
    image = tidr.render(scene, camera, PLAIN)
    columns, rows = np.meshgrid(np.arange(24) + 0.5, np.arange(18) + 0.5)
    rays = np.stack([(columns - 12) / 20, -(rows - 6) / 20, -np.ones_like(rows)], -1)
    hits = rays * (-1 / rays[..., 1:2])
    seen = (rays[..., 1] < 0) & (np.abs(hits[..., 0]) < 8.99) & (hits[..., 2] > -39.9)
    rtol = 1e-11 if f64.precision == 64 else 2e-4
    assert seen.sum() > 150
    np.testing.assert_allclose(image.channel("place").numpy()[seen], hits[seen], rtol=rtol, atol=rtol * 10)
    np.testing.assert_allclose(image.depth.numpy()[seen][:, 0], -hits[seen][:, 2], rtol=rtol)
    np.testing.assert_allclose(image.uv.numpy()[seen], hits[seen][:, [0, 2]] / 8, rtol=rtol, atol=rtol * 10)
    np.testing.assert_allclose(image.normal.numpy()[seen], [[0, 1, 0]] * seen.sum(), atol=1e-6)
    np.testing.assert_allclose(image.barycentrics.numpy()[seen].sum(-1), 1, rtol=1e-5)
    assert (image.depth.numpy()[rays[..., 1] > 0] == 0).all()


def facets() -> tidr.Scene:
    """Three triangles of constant colour, two dark and one white in front of them (the survey's figure)."""
    corners = [[-1, -1, 0], [0.6, -0.9, 0], [-0.3, 0.9, 0], [-0.4, -0.7, 0.5], [1, -0.6, 0.5], [0.5, 0.8, 0.5]]
    corners += [[-0.9, 0.9, -0.4], [0.9, 0.95, -0.4], [0.1, -0.8, -0.4]]
    scene = tidr.Scene(tidr.Film(24, 24, (0.1, 0.2, 0.3)))
    scene.add_material("dark", tidr.Material("lambert", albedo=0.2))
    scene.add_material("white", tidr.Material("lambert", albedo=1.0))
    mesh = tidr.Mesh(np.array(corners), np.arange(9).reshape(3, 3), face_materials=[0, 1, 0])
    scene.add_node("facets", tidr.Node(mesh, ("dark", "white")))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=45, width=24, height=24))
    return scene


@pytest.mark.row(5, 23)
def test_constant_colours_give_exactly_zero_except_at_treated_edges(f64):
    scene = facets()
    vertices = scene.parameters()["facets.vertices"]
    target = np.random.default_rng(0).uniform(size=(24, 24, 3))
    for edges, moves in (("none", False), ("antialias", True), ("soft", True)):
        with tidr.Tape() as tape:
            image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges, sigma=1e-3, gamma=1e-2))
            tape.add(tidr.losses.mse(image, target))
        assert vertices.grad_numpy().any() == moves, edges
        assert ("facets.vertices" in tape.zero_gradients()) != moves
        assert scene["white"].parameters()["albedo"].grad_numpy().all()
        if not moves:
            np.testing.assert_allclose(np.unique(image.rgb.numpy()[..., 0]), [0.1, 0.2, 1.0], rtol=1e-6)


CHANNELS = {"rgb": 3, "depth": 1, "normal": 3, "uv": 2, "barycentrics": 3, "heat": 2}


def channel_losses(scene, steady, channels=tuple(CHANNELS), **options):
    """Per channel a function that renders and returns a random linear loss over the pixels of a mask [H, W]."""
    rng = np.random.default_rng(1)

    def loss_of(channel: str):
        weights = rng.normal(size=(32, 32, CHANNELS.get(channel, 1))) * steady[..., None]
        renderer = tidr.Rasterizer(channels=(channel,), **options)
        return lambda: weighted(tidr.render(scene, scene["front"], renderer).channel(channel), weights)

    return {channel: loss_of(channel) for channel in channels}


def steady_pixels(scene) -> np.ndarray:
    """Pixels [32, 32] well inside a triangle."""
    steady, found = interior(scene, scene["front"], 32, 32, 0.25)
    return steady & (found.ids >= 0)


@pytest.mark.row(4, 23)
@pytest.mark.row(16)
@pytest.mark.row(17)
@pytest.mark.row(118)
@pytest.mark.parametrize("orthographic", [False, True])
def test_every_channel_is_differentiable_inside_triangles(f64, orthographic):
    scene = everything(orthographic=orthographic)
    camera, left, right = scene["front"], scene["left"].mesh, scene["right"].mesh
    own = {"rgb": left.colors, "uv": right.uvs, "heat": left.attributes["heat"], "normal": right.normals}
    common = [left.vertices, scene["right"].rotation, scene["table"].scale, scene["table"].translation]
    common += [camera.position, camera.focal, camera.principal_point, camera.rotation]
    steady = steady_pixels(scene)
    assert steady.sum() > 200
    channels = ("rgb", "depth", "normal") if orthographic else tuple(CHANNELS)
    for channel, loss in channel_losses(scene, steady, channels, edges="none").items():
        arrays = [*common, own[channel]] if channel in own else common
        directional_check(loss, arrays, f64, seed=2)


def gradients_of_everything() -> dict[tuple[str, str], np.ndarray]:
    """By the treatment of edges and the parameter's path."""
    scene = everything()
    steady, everywhere = steady_pixels(scene), np.ones((32, 32), bool)
    soft = {"edges": "soft", "sigma": 1e-3, "gamma": 0.3, "depth_range": (1.0, 6.0), "faces_per_pixel": 64}
    groups = {
        "none": (tuple(CHANNELS), steady, {"edges": "none"}),
        "antialias": (("rgb", "alpha"), everywhere, {"edges": "antialias"}),
        "soft": ((*CHANNELS, "alpha"), everywhere, soft),
    }
    found = {}
    for edges, (channels, pixels, options) in groups.items():
        rng = np.random.default_rng(1)
        with tidr.Tape() as tape:
            image = tidr.render(scene, renderer=tidr.Rasterizer(channels=channels, **options))
            for channel in channels:
                array = image.channel(channel)
                tape.add(weighted(array, rng.normal(size=array.shape) * pixels[..., None]))
        found |= {(edges, path): parameter.grad_numpy() for path, parameter in scene.parameters().items()}
    return found


@pytest.fixture
def in_64_bits(f64) -> dict[tuple[str, str], np.ndarray]:
    return gradients_of_everything()


@pytest.mark.row(4)
@pytest.mark.row(118)
def test_vulkan_gradients_equal_those_in_double_precision(in_64_bits, vulkan):
    single = gradients_of_everything()
    for (edges, path), double in in_64_bits.items():
        scale = max(np.linalg.norm(double), 1e-6)
        off = np.linalg.norm(single[edges, path] - double)
        assert off <= (2e-3 if edges == "none" else 2e-2) * scale, (edges, path)


@pytest.mark.row(17)
def test_the_footprint_of_a_pixel_is_the_slope_of_uv(f64):
    scene = everything()
    camera = scene["front"]
    packed = geometry.pack(scene)
    world, views = geometry.world(scene, packed), Views([camera], 32, 32)
    screen = project_points(world.positions, views)
    entries = find(world, views, screen, False).entries
    out = Buffer((entries.capacity, 4))
    footprint(
        entries.count, world.positions.rows, entries.place.ndarray, entries.face.ndarray, packed.triangles,
        screen.value, packed.uv_corners, world.uvs.value, out.ndarray,
    )  # fmt: skip
    _, row, column = entries.place.ndarray.to_numpy()[: 3 * entries.count].reshape(-1, 3).T
    pixel, face = row * 32 + column, entries.face.ndarray.to_numpy()[: entries.count]
    flat, triangles = screen.numpy(), packed.triangles.to_numpy()
    uvs = world.uvs.numpy()[packed.uv_corners.to_numpy()[face]]  # [n, corner, 2]
    ids, slopes = np.full((32, 32), -1), []
    ids.reshape(-1)[pixel] = face
    x, y = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    for dx, dy in ((1e-4, 0), (0, 1e-4)):
        above, below = (twin.barycentrics(flat, triangles, ids, x + s * dx, y + s * dy) for s in (1, -1))
        slopes.append(np.einsum("nk,nkc->nc", (above - below)[ids >= 0] / 2e-4, uvs))
    np.testing.assert_allclose(out.ndarray.to_numpy()[: entries.count], np.concatenate(slopes, 1), rtol=1e-5, atol=1e-7)


@pytest.mark.row(118)
def test_gradients_of_instances_add_up(f64):
    vertices, faces = blob(5)
    places = [((-0.7, 0, 0), (1, 0.2, 0, 0), 0.7), ((0.7, 0.2, 0.3), (0.5, 0, 1, 0), (0.5, 0.8, 0.6))]
    target = np.full((32, 32, 3), 0.4)

    def build(meshes) -> tidr.Scene:
        scene = tidr.Scene()
        for k, (mesh, place) in enumerate(zip(meshes, places, strict=True)):
            scene.add_node(f"n{k}", tidr.Node(mesh, (), None, *place))
        scene.add_light("sun", tidr.DirectionalLight((0, -0.5, -1), 3.0))
        scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=50, width=32, height=32))
        return scene

    shared, apart = tidr.Mesh(vertices, faces), [tidr.Mesh(vertices, faces), tidr.Mesh(vertices, faces)]
    images = []
    for meshes in ([shared, shared], apart):
        scene = build(meshes)
        with tidr.Tape() as tape:
            image = tidr.render(scene)
            tape.add(tidr.losses.mse(image, target))
        images.append(image.rgb.numpy())
    assert list(build([shared, shared]).parameters("*.vertices")) == ["n0.vertices"]
    np.testing.assert_array_equal(*images)
    total = apart[0].vertices.grad_numpy() + apart[1].vertices.grad_numpy()
    assert np.abs(total).max() > 0
    np.testing.assert_allclose(shared.vertices.grad_numpy(), total, rtol=1e-10, atol=1e-14)


def test_a_batch_holds_the_single_views(f64):
    scene = everything()
    cameras = tidr.orbit(3, 3.2, width=20, height=28, fov_y_degrees=45)
    names = ("rgb", "alpha", "depth", "normal", "uv", "barycentrics", "ids")
    for edges in ("none", "antialias", "soft"):
        renderer = tidr.Rasterizer(edges=edges, sigma=1e-3)
        batch = tidr.render(scene, cameras, renderer)
        for view, camera in enumerate(cameras):
            single = tidr.render(scene, camera, renderer)
            assert single.rgb.shape == (28, 20, 3)
            for name in names:
                np.testing.assert_allclose(batch.channel(name).numpy()[view], single.channel(name).numpy(), atol=1e-12)
