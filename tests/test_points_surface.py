"""Surface splats (EWA, DSS): a twin by the formulas, closed forms, gradients, the published rule of occupancy."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting.optimizers import Adam
from tidr.fitting.tape import Tape
from tidr.parameter import Parameters
from tidr.renderers.points import PointRenderer
from tidr.scene.points import PointCloud

from .conftest import on_backends
from .gradients import tape_gradients, weighted
from .reference import surface_splats as twin
from .voxel_scenes import against_f64

SIZE = (13, 11)


def camera(kind="perspective", size=SIZE) -> tidr.Camera:
    place = {"fov_y_degrees": 34} if kind == "perspective" else {"height_world": 1.3}
    return tidr.Camera.look_at((0.5, 0.7, 2.0), (0.02, 0.01, 0), width=size[0], height=size[1], **place)


def cloud(seed: int, count=14, radii=True, spread=0.45) -> PointCloud:
    """Points all over, whose normals look about towards the camera."""
    rng = np.random.default_rng(seed)
    return PointCloud(
        rng.uniform(-spread, spread, (count, 3)), colors=rng.uniform(0.1, 0.9, (count, 3)),
        normals=np.array([0.3, 0.4, 1.0]) + rng.normal(size=(count, 3)) * 0.4,
        radii=rng.uniform(0.1, 0.25, count) if radii else None,
    )  # fmt: skip


def placed(geometry: PointCloud, background=(0.0, 0.0, 0.0), lit=False) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(*SIZE, background))
    if lit:
        scene.add_material("clay", tidr.Material("lambert", albedo=0.8 if geometry.colors is None else "vertex_colors"))
        scene.add_light("sun", tidr.DirectionalLight((-0.2, -0.5, -1), 2.0))
    node = tidr.Node(geometry, ("clay",) if lit else (), rotation=(0.97, 0.1, -0.2, 0.1), scale=1.1)
    scene.add_node("points", node)
    return scene


def flat(sides=9, spacing=0.1, radius=0.07) -> PointCloud:
    """A square of points that faces the z axis."""
    line = (np.arange(sides) - (sides - 1) / 2) * spacing
    places = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    places = np.column_stack([places, np.zeros(len(places))])
    return PointCloud(places, normals=np.tile([0, 0, 1.0], (len(places), 1)), radii=radius)


def in_world(scene: tidr.Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    held, world = scene["points"].geometry, scene.world_matrices()["points"]
    normals = held.normals.numpy() @ np.linalg.inv(world[:3, :3])
    points = held.positions.numpy() @ world[:3, :3].T + world[:3, 3]
    if held.radii is None:
        apart = np.sort(((points[:, None] - points[None]) ** 2).sum(-1), 1)
        return points, normals, np.clip(0.5 * apart[:, 6], 5e-5, 1e-2)
    return points, normals, (held.radii.numpy()[:, 0] * np.cbrt(np.linalg.det(world[:3, :3]))) ** 2


@pytest.mark.row(70)
@pytest.mark.parametrize(
    ("backend", "kind", "radii"),
    on_backends(
        [(kind, radii) for kind in ("perspective", "orthographic") for radii in (True, False)], [("perspective", False)]
    ),
    indirect=["backend"],
)
def test_pictures_equal_the_twin(kind, radii, backend):
    """A batch of two cameras; colours, depth, normals and occupancy; the size from radii, or from 6 neighbours."""
    scene, options = placed(cloud(4, 60, radii)), {"depth_merge": 0.2, "merged_points": 3, "cutoff": 1.7}
    cameras = [camera(kind), tidr.Camera.look_at((-0.4, 0.2, 1.8), (0, 0, 0), fov_y_degrees=40, width=13, height=11)]
    image = tidr.render(scene, cameras, PointRenderer(splat="surface", **options))
    points, normals, spreads = in_world(scene)
    normals = normals / np.linalg.norm(normals, axis=1)[:, None]
    colors = scene["points"].geometry.colors.numpy()
    for k, each in enumerate(cameras):
        found = twin.discs(each, *SIZE, points, normals, spreads)
        features = np.column_stack([colors, found.depths, normals])
        expected, occupied = twin.draw(found, features, *SIZE, cutoff=1.7, merge=0.2, most=3)
        assert 0.2 < occupied.mean() < 1
        assert np.array_equal(image.alpha.numpy()[k, ..., 0], occupied)
        assert np.allclose(image.rgb.numpy()[k], expected[..., :3], atol=2e-4)
        assert np.allclose(image.depth.numpy()[k], expected[..., 3:4], atol=2e-4)
        length = np.maximum(np.linalg.norm(expected[..., 4:], axis=-1, keepdims=True), 1e-9)
        assert np.allclose(image.normal.numpy()[k], expected[..., 4:] / length, atol=3e-4)


@pytest.mark.row(70)
def test_a_splat_sums_to_its_stretch(f64):
    """Over all pixels the weights of an isotropic splat sum to |det M|, pixels^2 by world^2, so 1 by area."""
    camera = tidr.Camera.look_at((0, 0, 5), (0, 0, 0), height_world=2, width=64, height=64)
    found = twin.discs(camera, 64, 64, np.zeros((1, 3)), np.array([[0, 0, 1.0]]), np.array([0.02]))
    q, _ = twin.squares(found, 64, 64)
    assert (found.weights[0] * np.exp(-0.5 * q)).sum() == pytest.approx(32**2, rel=1e-6)
    scene = placed(PointCloud([[0.0, 0, 0]], normals=[[0, 0, 1.0]], radii=np.sqrt(0.02)))
    scene["points"].rotation.set([1, 0, 0, 0])
    scene["points"].scale.set(1.0)
    alpha = tidr.render(scene, camera, PointRenderer(splat="surface", cutoff=2.0), 256, 256).alpha.numpy()
    assert alpha.sum() == pytest.approx(np.pi * 2 * (0.02 * 128**2 + 1), rel=0.01)


def test_a_flat_square_of_discs_is_opaque_and_flat(f64):
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), fov_y_degrees=20, width=16, height=16)
    scene = tidr.Scene(tidr.Film(16, 16))
    scene.add_node("points", tidr.Node(flat()))
    image = tidr.render(scene, camera, PointRenderer(splat="surface"))
    assert image.alpha.numpy().min() == 1
    assert np.allclose(image.depth.numpy(), 2, atol=1e-5)
    assert np.allclose(image.normal.numpy(), [0, 0, 1], atol=1e-5)
    assert np.allclose(image.rgb.numpy(), 1, atol=1e-5)


def test_points_that_turn_their_back_are_left_out_when_asked(f64):
    points = cloud(2)
    points.normals.set(-points.normals.numpy())
    scene = placed(points)
    assert not tidr.render(scene, camera(), PointRenderer(splat="surface")).alpha.numpy().any()
    assert tidr.render(scene, camera(), PointRenderer(splat="surface", cull_back=False)).alpha.numpy().any()


def test_the_order_of_the_points_does_not_matter(f64):
    points = cloud(7, 40)
    order = np.random.default_rng(0).permutation(40)
    turned = PointCloud(**{name: p.numpy()[order] for name, p in points.parameters().items()})
    images = [tidr.render(placed(one), camera(), PointRenderer(splat="surface")).rgb for one in (points, turned)]
    assert np.allclose(images[0].numpy(), images[1].numpy(), atol=1e-12)


def wide() -> PointRenderer:
    """Splats that reach over the picture, so that no pixel passes their ends within a difference's step."""
    return PointRenderer(splat="surface", cutoff=40.0, depth_merge=9.0, merged_points=100)


@pytest.mark.row(70)
@pytest.mark.parametrize(
    ("backend", "seed", "kind", "channel"),
    on_backends(
        [
            (seed, kind, channel)
            for seed, kind in ((0, "perspective"), (1, "perspective"), (2, "orthographic"))
            for channel in ("rgb", "depth", "normal")
        ],
        [(0, "perspective", "rgb"), (2, "orthographic", "normal")],
    ),
    indirect=["backend"],
)
def test_blended_channels_are_exact(seed, channel, kind, backend):
    """To positions, normals, radii and colours, lit by a light; to the node's transform and to the camera."""

    def problem():
        scene, view = placed(cloud(seed), lit=True), camera(kind)
        weights = np.random.default_rng(seed).normal(size=(11, 13, 3 if channel != "depth" else 1))
        held, node = scene["points"].geometry, scene["points"]
        arrays = [held.positions, held.normals, held.radii]
        if channel == "rgb":
            arrays += [held.colors, scene["sun"].direction]
        if seed != 1:
            arrays += [node.translation, node.rotation, node.scale, view.position, view.rotation, view.focal]
        assert tidr.render(scene, view, wide()).alpha.numpy().min() == 1
        return lambda: weighted(tidr.render(scene, view, wide()).channel(channel), weights), arrays

    against_f64(("surface", seed, channel, kind), problem, backend, seed)


def gap_gradient(scene: tidr.Scene, view: tidr.Camera, gradient, **options) -> np.ndarray:
    """What dL/dalpha [H, W] gives to the positions in the world."""
    renderer, positions = PointRenderer(splat="surface", **options), scene["points"].geometry.positions
    loss = lambda: weighted(tidr.render(scene, view, renderer).alpha, gradient[..., None])  # noqa: E731
    (found,) = tape_gradients(loss, [positions])
    return found


@pytest.mark.row(70)
@pytest.mark.parametrize(
    ("backend", "seed", "kind"),
    on_backends([(seed, kind) for seed in (0, 1) for kind in ("perspective", "orthographic")], [(0, "perspective")]),
    indirect=["backend"],
)
def test_occupancy_has_the_published_gradient(seed, kind, backend):
    """The sum over pixels at every point's place, cut in length, and back through the projection to the world."""
    scene, view = placed(cloud(seed, 20)), camera(kind)
    gradient = np.random.default_rng(seed).normal(size=(11, 13)) * 3e-3
    found = gap_gradient(scene, view, gradient, backward_radius=2.5)
    points, normals, spreads = in_world(scene)
    discs = twin.discs(view, *SIZE, points, normals, spreads)
    pulls = twin.pulls(discs, gradient, *SIZE, enlarged=2.5)
    assert 0 < (np.linalg.norm(pulls, axis=1) > 0.0499 * 2 / 11).mean() < 1  # some are cut
    matrix, world = view.projection(*SIZE)[0], scene.world_matrices()["points"]
    for k, (p, pull) in enumerate(zip(points, pulls, strict=True)):
        q = matrix @ np.append(p, 1)
        jacobian = (matrix[:2, :3] - np.outer(q[:2] / q[2], matrix[2, :3])) / q[2]
        expected = pull @ jacobian @ world[:3, :3]
        assert np.allclose(found[k], expected, rtol=1e-3 if backend.precision == 32 else 1e-9, atol=1e-8)


@pytest.mark.row(70)
def test_pixels_push_what_covers_them_and_pull_what_is_near(f64):
    scene, view = tidr.Scene(tidr.Film(21, 21)), tidr.Camera.look_at(
        (0, 0, 4), (0, 0, 0), height_world=2.1, width=21, height=21
    )  # fmt: skip
    scene.add_node("points", tidr.Node(PointCloud([[0.03, 0, 0]], normals=[[0, 0, 1.0]], radii=0.15)))

    def step(row, column, g, **options) -> np.ndarray:
        gradient = np.zeros((21, 21))
        gradient[row, column] = g
        return -gap_gradient(scene, view, gradient, **options)[0]

    assert step(10, 12, -1e-3)[0] > 0  # a pixel on the right had better be full: it comes
    assert step(10, 14, -1e-3)[0] > 0  # also where its splat does not reach
    assert step(10, 19, -1e-3, backward_radius=3.0)[0] == 0  # not from farther than the enlarged radius
    assert step(4, 10, -1e-3)[1] > 0  # up is up
    assert step(10, 11, 1e-3)[0] < 0  # a pixel that it covers had better be empty: it goes
    assert step(10, 14, 1e-3)[0] == 0  # one that it does not cover says nothing
    assert np.linalg.norm(step(10, 11, -1e6)) == pytest.approx(0.05 * 2 / 21 * 10, rel=1e-3)  # and no more than so far


@pytest.mark.row(70)
def test_a_disc_of_points_finds_a_mask(f32):
    """Points of a square move into a disc beside it, by the mask alone; nothing is allocated after two steps."""
    view = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=2, width=40, height=40)
    scene = tidr.Scene(tidr.Film(40, 40))
    points = flat(12, 0.06, 0.035)
    scene.add_node("points", tidr.Node(points))
    rows, columns = np.indices((40, 40)) + 0.5
    mask = ((columns - 25) ** 2 + (rows - 17) ** 2 < 10.5**2).astype(float)
    renderer = PointRenderer(splat="surface", backward_radius=8)
    optimizer = Adam(Parameters({"positions": points.positions}), lr=8e-3)

    def overlap() -> float:
        seen = tidr.render(scene, view, renderer).alpha.numpy()[..., 0]
        return (seen * mask).sum() / np.maximum(seen, mask).sum()

    before, made = overlap(), 0
    for step in range(80):
        if step == 2:
            made = buffer.allocations
        with Tape() as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, view, renderer).alpha, mask[..., None]))
        optimizer.step()
    assert buffer.allocations == made
    assert before < 0.5
    assert overlap() > 0.75


@pytest.mark.row(70)
def test_a_background_pulls_through_alpha(f64):
    """Before a bright background the mask's gradient comes with the colours: a point leaves a pixel that is bright."""
    view = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=2.1, width=21, height=21)
    scene = tidr.Scene(tidr.Film(21, 21, (1.0, 1.0, 1.0)))
    points = PointCloud([[0.03, 0, 0]], np.zeros((1, 3)), normals=[[0, 0, 1.0]], radii=0.15)
    scene.add_node("points", tidr.Node(points))
    target = np.ones((21, 21, 3))
    target[:, :11] = 0
    with Tape() as tape:
        tape.add(tidr.losses.mse(tidr.render(scene, view, PointRenderer(splat="surface")), target))
    assert points.positions.grad_numpy()[0, 0] > 0  # so that a step goes left


def degenerate() -> dict[str, PointCloud]:
    up, n = [0.3, 0.4, 1.0], 5
    return {
        "one": PointCloud([[0.0, 0, 0]], normals=[up]),
        "one place": PointCloud(np.zeros((n, 3)), normals=[up] * n),
        "behind": PointCloud(np.full((n, 3), 9.0), normals=[up] * n),
        "at the eye": PointCloud([[0.5, 0.7, 2.0]], normals=[up]),
        "far": PointCloud(np.full((n, 3), 1e9), normals=[up] * n),
        "edge on": PointCloud([[0.0, 0, 0]], normals=[[1.0, 0, 0]], radii=0.2),
        "huge": PointCloud([[0.0, 0, 0]], normals=[up], radii=1e12),
        "tiny": PointCloud([[0.0, 0, 0]], normals=[up], radii=1e-12),
        "huge picture": PointCloud(np.eye(3) * 1e6, normals=[up] * 3, radii=1e5),
    }


@pytest.mark.parametrize(
    ("backend", "name"),
    on_backends([(name,) for name in degenerate()], [("one place",), ("huge",)]),
    indirect=["backend"],
)
def test_degenerate_points_give_finite_pictures_and_gradients(name, backend):
    points = degenerate()[name]
    scene = placed(points, (0.2, 0.3, 0.4), lit=True)
    renderer = PointRenderer(splat="surface", low_pass=1e-3)
    arrays = [points.positions, points.normals, scene["points"].scale]

    def loss():
        image = tidr.render(scene, camera(), renderer)
        for array in (image.rgb, image.alpha, image.depth, image.normal):
            assert np.isfinite(array.numpy()).all()
        return weighted(image.rgb, 1.0)

    assert all(np.isfinite(gradient).all() for gradient in tape_gradients(loss, arrays))


def test_bad_input_is_refused_by_name(f64):
    scene = placed(PointCloud(np.eye(3)))
    with pytest.raises(SceneError, match=r"nodes\.points.*without normals"):
        tidr.render(scene, camera(), PointRenderer(splat="surface"))
    bad = {"cutoff": 0.0, "backward_radius": 0.5, "merged_points": 0, "depth_merge": -1.0}
    for name, value in (*bad.items(), ("variance_range", (0.1, 0.01))):
        with pytest.raises(SceneError, match=rf"renderer\.{name}"):
            PointRenderer(splat="surface", **{name: value})
