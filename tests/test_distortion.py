"""Lens distortion: the map and its inverse, rays and resampled pictures with gradients, files, a fit; 6D rotations."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.files.cameras import read_transforms, write_transforms
from tidr.files.colmap import read_colmap
from tidr.files.scene_write import write_scene
from tidr.fitting.start import mask_extent
from tidr.fitting.start_box import _kept
from tidr.renderers.rays import Rays
from tidr.scene.camera import Camera
from tidr.scene.distortion import distort, undistort
from tidr.scene.rgbd import back_project
from tidr.scene.transform import rotation_adjoint, rotation_numbers, rotation_of

from .gradients import directional_check, tape_gradients, weighted
from .test_colmap import model_text

BROWN = (-0.12, 0.03, 0.004, -0.006, 0.002)
RATIONAL = (0.4, 0.05, 0.002, -0.001, 0.01, 0.5, 0.04, 0.003)


def camera(distortion=BROWN, rotation_as=None) -> Camera:
    made = Camera.look_at((0.3, 0.2, 3.0), (0, 0, 0), fov_y_degrees=50, width=12, height=9)
    lens = {} if distortion is None else {"distortion": distortion}
    pose = (made.position.host(), rotation_numbers(made.rotation.host(), rotation_as, "")[0])
    return Camera(*pose, made.focal.host() * [1, 1.1], (6.2, 4.4), 12, 9, **lens)


def quad(size=0.8) -> tidr.Scene:
    """A square of two triangles with smooth colours, facing +z."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * size
    mesh = tidr.Mesh(
        corners, np.array([[0, 1, 2], [0, 2, 3]]), colors=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1.0]])
    )
    scene = tidr.Scene(tidr.Film(12, 9, (0.1, 0.2, 0.3)))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("all", tidr.AmbientLight((1.0, 1.0, 1.0)))
    scene.add_node("quad", tidr.Node(mesh, ("paint",)))
    return scene


@pytest.mark.row(155)
@pytest.mark.parametrize("coefficients", [(0.3,), (-0.2,), BROWN, RATIONAL])
def test_the_inverse_is_the_inverse(coefficients):
    """To 1e-8 and far better, wherever the map has not folded."""
    full = np.pad(coefficients, (0, 8 - len(coefficients)))
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (500, 2))
    shown, jacobian = distort(points, full)
    back, inside = undistort(shown, full)
    assert inside.all()
    np.testing.assert_allclose(back, points, atol=1e-8)
    step = 1e-6 * np.eye(2)
    for axis in range(2):
        slope = (distort(points + step[axis], full)[0] - distort(points - step[axis], full)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[:, :, axis], slope, atol=1e-8)


@pytest.mark.row(155)
def test_quadratic_distortion_folds_where_theory_says(f64):
    """x (1 + k r^2) rises up to r^2 = -1 / (3 k), where it shows 2 r / 3; nothing is shown further out."""
    k = -0.3
    fold = np.sqrt(-1 / (3 * k))
    radii = np.array([0.1, 0.5, 0.999, 1.001, 1.5, 4.0]) * fold * 2 / 3
    turned = np.stack([radii * np.cos(0.7), radii * np.sin(0.7)], -1)
    found, inside = undistort(turned, np.array([k, 0, 0, 0, 0, 0, 0, 0]))
    assert inside.tolist() == [True, True, True, False, False, False]
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found, axis=-1) < 1.01 * fold).all()
    wide = Camera((0, 0, 0), (1, 0, 0, 0), (10, 10), (20, 5), 40, 10, distortion=[k])
    rows, columns = np.mgrid[:10, :40] + 0.5
    beyond = np.hypot(columns - 20, rows - 5) / 10 > 2 / 3 * fold
    np.testing.assert_array_equal(wide.overflow(40, 10), beyond)
    rays = Rays.of_cameras([wide], 40, 10)
    assert np.isfinite(rays.directions.numpy()).all()
    with tidr.Tape() as tape:
        rays = Rays.of_cameras([wide], 40, 10)
        tape.add(weighted(rays.directions, beyond.reshape(-1, 1) * np.ones((1, 3))))
    assert not wide.distortion.grad_numpy().any()  # what lies in the fold moves with nothing


@pytest.mark.parametrize("coefficients", [BROWN, RATIONAL])
def test_rays_through_a_lens(f64, coefficients):
    """Each ray's point is shown at its pixel; gradients reach pose, intrinsics and all coefficients."""
    lens, plain = camera(np.pad(coefficients, (0, 8 - len(coefficients)))), camera(None)

    def rays():
        return Rays.of_cameras([lens, plain], 12, 9)

    found = rays()
    points = found.origins.numpy() + found.directions.numpy() * 2.0
    rows, columns = np.mgrid[:9, :12] + 0.5
    for number, one in enumerate((lens, plain)):
        homogeneous = np.append(points.reshape(2, -1, 3)[number], np.ones((108, 1)), 1) @ one.projection(12, 9)[0].T
        pixels = one.distorted(homogeneous[:, :2] / homogeneous[:, 2:3], 12, 9)
        np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=1e-8)
    weights = np.random.default_rng(1).normal(size=found.directions.shape)
    held = [lens.distortion, lens.focal, lens.principal_point, lens.rotation, plain.focal]
    gradients = directional_check(lambda: weighted(rays().directions, weights), held, f64, directions=2)
    assert (gradients[0] != 0).all()


def outline(lens, pieces):
    """The area of a square's picture [0.8 half as wide], each edge of it drawn in so many straight pieces."""
    corners = np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])
    shares = np.arange(pieces)[:, None] / pieces
    edges = zip(corners, np.roll(corners, -1, 0), strict=True)
    places = np.concatenate([(1 - shares) * first + shares * last for first, last in edges])
    homogeneous = np.column_stack([places, 0 * places[:, :1], 0 * places[:, :1] + 1]) @ lens.projection(120, 90)[0].T
    pixels = lens.distorted(homogeneous[:, :2] / homogeneous[:, 2:3], 120, 90)
    ahead = np.roll(pixels, -1, axis=0)
    return 0.5 * abs((pixels[:, 0] * ahead[:, 1] - pixels[:, 1] * ahead[:, 0]).sum())


@pytest.mark.long
@pytest.mark.row(155)
def test_a_raster_picture_through_a_lens(f64):
    """Edges are bent as theory says, not only their corners moved."""
    lens, renderer = camera((0.25, 0.0, 0.01, -0.01)), tidr.Rasterizer(edges="none", channels=("alpha",))
    covered = tidr.render(quad(), lens, renderer, 120, 90).alpha.numpy().sum()
    assert covered == pytest.approx(outline(lens, 64), rel=3e-3)
    assert abs(covered - outline(lens, 1)) > 5 * abs(covered - outline(lens, 64))


@pytest.mark.row(127)
@pytest.mark.parametrize("backend", ["cpu-f64", "vulkan-f32"], indirect=True)
def test_gradients_of_a_resampled_picture(backend):
    """To the lens, and to rotations of camera and node that are held as six numbers; dots are where theory says."""
    scene, lens = tidr.Scene(tidr.Film(12, 9)), camera((0.25, 0.0, 0.01, -0.01), "6d")
    points = np.random.default_rng(2).uniform(-0.8, 0.8, (6, 3))
    scene.add_node("dots", tidr.Node(tidr.PointCloud(points), rotation=(1, 0.2, 0, 0.1, 1.4, -0.3)))
    renderer = tidr.PointRenderer(splat="gaussian", sigma_pixels=4)
    weights = np.random.default_rng(0).normal(size=(9, 12, 1))
    held = [lens.distortion, lens.focal, lens.rotation, scene["dots"].rotation]

    def loss():
        return weighted(tidr.render(scene, lens, renderer).alpha, weights)

    gradients = directional_check(loss, held[:1] if backend.precision == 32 else held, backend, directions=2)
    assert all(gradient.any() for gradient in gradients)
    scene["dots"].geometry.positions.set(np.repeat([[0.9, 0.6, 0.1]], 6, 0))
    dot = tidr.render(scene, lens, tidr.PointRenderer(splat="gaussian", sigma_pixels=1.5), 96, 72).alpha.numpy()[..., 0]
    rows, columns = np.mgrid[:72, :96] + 0.5
    x, y, w, _ = lens.projection(96, 72)[0] @ scene.world_matrices()["dots"] @ (0.9, 0.6, 0.1, 1)
    seen = np.array([(dot * columns).sum(), (dot * rows).sum()]) / dot.sum()
    np.testing.assert_allclose(seen, lens.distorted((x / w, y / w), 96, 72), atol=0.1)
    assert np.linalg.norm(seen - (x / w, y / w)) > 0.5  # pixels that the lens moves it
    lens.distortion.set(np.zeros(8))
    assert (tape_gradients(loss, held)[0] != 0).all()  # so that a fit may begin without distortion


@pytest.mark.long
@pytest.mark.row(155)
def test_a_fit_finds_the_radial_coefficient(f64):
    """T16: 10 % off at first, within 1 % at last; every view has its own intrinsics, of which one is fitted too."""
    scene, pictures = quad(3.0), []
    renderer = tidr.Rasterizer(edges="none")
    for number, (k, focal) in enumerate(((-0.2, 11.0), (0.15, 9.0))):
        pose = Camera.look_at((0.6 * number - 0.3, 0.2, 2.2), (0, 0, 0), fov_y_degrees=50).rotation.host()
        lens = Camera((0.6 * number - 0.3, 0.2, 2.2), pose, (focal, focal), (6, 4.5), 12, 9, distortion=[k])
        scene.add_camera(f"view{number}", lens)
        pictures.append((f"view{number}", tidr.render(scene, lens, renderer).rgb.numpy()))
    scene["view0"].distortion.set(scene["view0"].distortion.numpy() * 1.1)
    scene["view1"].distortion.set(scene["view1"].distortion.numpy() * 0.9)
    scene["view1"].focal.set([9.3, 9.3])
    for name in ("view0", "view1"):
        scene[name].distortion.constraint = tidr.Constraint(channels=(0,))
    params = scene.parameters("view?.distortion", "view1.focal")
    tidr.fit(scene, pictures, params, optimizer=tidr.LevenbergMarquardt(params), steps=8, renderer=renderer)
    assert scene["view0"].distortion.numpy()[0] == pytest.approx(-0.2, rel=1e-2)
    assert scene["view1"].distortion.numpy()[0] == pytest.approx(0.15, rel=1e-2)
    np.testing.assert_allclose(scene["view1"].focal.numpy(), 9.0, rtol=1e-3)
    assert not scene["view0"].distortion.numpy()[1:].any()


def test_files_tell_distortion(f64, tmp_path):
    pose = np.eye(4).tolist()
    keys = {"fl_x": 9.0, "w": 12, "h": 9, "camera_model": "OPENCV", "k1": 0.1, "k2": -0.02, "p1": 1e-3, "k3": 0.5}
    (tmp_path / "transforms.json").write_text(json.dumps(keys | {"frames": [{"transform_matrix": pose}]}))
    (frame,) = read_transforms(tmp_path, pictures=False).frames
    assert frame.distortion == (0.1, -0.02, 1e-3, 0, 0.5)
    rational = replace(frame, distortion=RATIONAL)
    write_transforms(tmp_path / "transforms.json", [frame, rational])
    assert [one.distortion for one in read_transforms(tmp_path, pictures=False).frames] == [frame.distortion, RATIONAL]
    (tmp_path / "sparse").mkdir()
    for name, data in model_text("1 RADIAL 12 9 9.0 6.0 4.5 0.1 -0.02").items():
        (tmp_path / "sparse" / name).write_bytes(data)
    assert read_colmap(tmp_path / "sparse" / "cameras.txt", pictures=False).frames[0].distortion == (0.1, -0.02)
    (tmp_path / "a.toml").write_text(
        '[cameras.rig]\nfrom = "transforms.json"\n[cameras.own]\nposition = [0, 0, 3]\ntarget = [0, 0, 0]\n'
        'fov_y_degrees = 40\ndistortion = [0.1, 0.2]\nrotation_as = "6d"\n[nodes.group]\nrotation_as = "6d"\n'
        "rotation_degrees = [10, 20, 30]\n"
    )
    scene = tidr.load(tmp_path / "a.toml")
    assert scene.parameters("own.distortion", "own.rotation", "group.rotation", "rig_1.distortion")
    write_scene(scene, tmp_path / "b.toml")
    again = tidr.load(tmp_path / "b.toml")
    for name in ("own.distortion", "own.rotation", "group.rotation", "rig_1.distortion"):
        np.testing.assert_allclose(
            again.parameters(name)[name].numpy(), scene.parameters(name)[name].numpy(), atol=1e-9
        )
    with pytest.raises(SceneError, match="only perspective cameras have it"):
        Camera.look_at((0, 0, 3), (0, 0, 0), height_world=2, distortion=[0.1])
    with pytest.raises(SceneError, match="give 1 to 8 finite numbers"):
        Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40, distortion=[np.nan])


@pytest.mark.row(127)
def test_six_numbers_are_a_rotation(f64):
    """Round trip to 1e-6, and differences of any six numbers."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        quaternion = rng.normal(size=4)
        numbers, unit = rotation_numbers(quaternion, "6d", "")
        assert not unit
        np.testing.assert_allclose(rotation_of(numbers), rotation_of(quaternion), atol=1e-12)
        back = rotation_numbers(numbers, "quaternion", "")[0]
        np.testing.assert_allclose(rotation_of(back), rotation_of(quaternion), atol=1e-6)
        free, gradient = rng.normal(size=6), rng.normal(size=(3, 3))
        np.testing.assert_allclose(rotation_of(free) @ rotation_of(free).T, np.eye(3), atol=1e-12)
        slopes = [(gradient * (rotation_of(free + h) - rotation_of(free - h))).sum() / 2e-6 for h in 1e-6 * np.eye(6)]
        np.testing.assert_allclose(rotation_adjoint(free, gradient), slopes, rtol=1e-5, atol=1e-7)
    with pytest.raises(SceneError, match="parallel"):
        tidr.Node(rotation=(1, 0, 0, 2, 0, 0))


@pytest.mark.long
@pytest.mark.row(155)
def test_a_path_traced_picture_through_a_lens(f64):
    """Rays are bent themselves: what they cover is what theory says, and every parameter has its exact gradient."""
    scene, lens = quad(), camera((0.25, 0.0, 0.01, -0.01))
    scene.materials["paint"] = tidr.Material("lambert", albedo=0.0, emission="vertex_colors")
    image = tidr.render(scene, lens, tidr.PathTracer(samples=4, max_depth=1), 120, 90)
    assert image.alpha.numpy().sum() == pytest.approx(outline(lens, 64), rel=1e-3)
    assert image.depth.numpy().max() == pytest.approx(3.15, abs=0.01)
    wide = quad(3.0)
    wide.materials["paint"] = scene.materials["paint"]
    renderer = tidr.PathTracer(samples=2, max_depth=1, independent_gradient=False)
    weights = np.random.default_rng(0).normal(size=(9, 12, 3))
    held = [lens.distortion, lens.focal, lens.rotation]
    gradients = directional_check(
        lambda: weighted(tidr.render(wide, lens, renderer).rgb, weights), held, f64, directions=2
    )
    assert all(gradient.any() for gradient in gradients)


def test_depths_and_masks_are_seen_through_the_lens(f64):
    """Points of a depth map are shown at their pixels; a box carved from masks holds what is in them."""
    lens = camera((-0.2, 0.05))
    places = back_project(np.full((9, 12), 2.5), lens).reshape(-1, 3)
    x, y, w, _ = lens.projection(12, 9)[0] @ np.column_stack([places, np.ones(len(places))]).T
    rows, columns = np.mgrid[:9, :12] + 0.5
    pixels = lens.distorted(np.stack([x / w, y / w], -1), 12, 9)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=1e-8)
    wide = Camera((0, 0, 3), (1, 0, 0, 0), (30, 30), (60, 45), 120, 90, distortion=(-0.2, 0.05))
    points = np.random.default_rng(0).uniform(-3, 3, (400, 3)) * [1, 1, 0.2]
    x, y, w, _ = wide.projection(120, 90)[0] @ np.column_stack([points, np.ones(400)]).T
    mask = np.zeros((90, 120))
    for column, row in wide.distorted(np.stack([x / w, y / w], -1), 120, 90).astype(int):
        if 0 <= row < 90 and 0 <= column < 120:
            mask[row, column] = 1
    assert _kept(wide, mask, points, 0.05).all()
    assert not _kept(wide, 0 * mask, points[np.abs(points).max(1) < 1], 0.05).any()
    area, reach = mask_extent(wide, np.ones((90, 120)), np.zeros(3))
    corner, _ = wide.undistorted((0.5, 0.5), 120, 90)
    assert reach == pytest.approx(np.linalg.norm(corner - (60, 45)) / 10)
    assert area > 0
