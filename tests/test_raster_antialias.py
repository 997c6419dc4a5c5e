"""Silhouette antialiasing: exact coverage of straight edges, its derivative, discs, and what seams must not do."""

import numpy as np
import pytest

import tidr

from .everything import blob
from .gradients import directional_check, tape_gradients
from .test_raster import weighted

SIDE = 16  # pixels; the orthographic camera below shows pixel coordinates (x right, y up) as world units


def flat_scene(vertices, faces, size: int = SIDE, background=(0, 0, 0), **mesh) -> tidr.Scene:
    """White shapes under unit ambient light, seen so that one world unit is one pixel and the origin lower left."""
    scene = tidr.Scene(tidr.Film(size, size, background))
    vertices = np.asarray(vertices, float)
    if vertices.shape[1] == 2:
        vertices = np.concatenate([vertices, np.zeros((len(vertices), 1))], 1)
    scene.add_material("white", tidr.Material("lambert", albedo=1.0))
    scene.add_node("shape", tidr.Node(tidr.Mesh(vertices, faces, **mesh), ("white",)))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    place = (size / 2, size / 2, 5)
    camera = tidr.Camera(place, (1, 0, 0, 0), (1, 1), (size / 2, size / 2), size, size, "orthographic")
    scene.add_camera("front", camera)
    return scene


def rectangle(left: float, right: float, bottom: float, top: float) -> tuple[list, list]:
    return [[left, bottom], [right, bottom], [right, top], [left, top]], [[0, 1, 2], [0, 2, 3]]


@pytest.mark.row(19)
@pytest.mark.parametrize("vertical", [True, False])
def test_a_straight_edge_covers_exactly_and_moves_with_slope_one(backend, vertical):
    exact, places = (1e-12, (5.1, 5.5 + 1e-3, 5.99, 6.02)) if backend.precision == 64 else (1e-5, (5.1, 6.02))
    for x in places:
        span = (-9, x, -9, SIDE + 9) if vertical else (-9, SIDE + 9, -9, x)
        scene = flat_scene(*rectangle(*span))
        with tidr.Tape() as tape:
            image = tidr.render(scene)
            tape.add(weighted(image.rgb, 1.0))
            tape.add(weighted(image.alpha, 1.0))
        for picture in (image.rgb, image.alpha):
            lines = picture.numpy().sum(1 if vertical else 0)
            np.testing.assert_allclose(lines, np.full_like(lines, x), rtol=exact)
        gradient = scene["shape"].vertices.grad_numpy()
        axis, moving = (0, [1, 2]) if vertical else (1, [2, 3])
        np.testing.assert_allclose(gradient[moving, axis].sum(), SIDE * 4, rtol=exact)
        assert (gradient[:, 2] == 0).all()
        assert (gradient[[k for k in range(4) if k not in moving]] == 0).all()


@pytest.mark.row(19)
def test_a_slanted_edge_covers_exactly_on_average(f64):
    # Each row is the exact coverage at the row's middle; a linear edge's mean over rows is its area.
    scene = flat_scene([[-9, -8], [3, -8], [9, 24], [-9, 24]], [[0, 1, 2], [0, 2, 3]])
    rows = tidr.render(scene).alpha.numpy()[..., 0].sum(1)
    expected = 3 + 6 * (SIDE - 0.5 - np.arange(SIDE) + 8) / 32
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    (gradient,) = tape_gradients(lambda: weighted(tidr.render(scene).alpha, 1.0), [scene["shape"].vertices])
    shares = (SIDE - 0.5 - np.arange(SIDE) + 8) / 32
    np.testing.assert_allclose(gradient[[1, 2], 0], [(1 - shares).sum(), shares.sum()], rtol=1e-9)


@pytest.mark.row(19)
def test_a_moving_square_matches_differences_of_up_to_half_a_pixel(f64):
    scene = flat_scene(*rectangle(4.25, 10.25, 3.25, 9.25))
    target = tidr.render(flat_scene(*rectangle(5.8, 11.8, 4.9, 10.9))).rgb.numpy()
    node = scene["shape"]

    def loss():
        return tidr.losses.mse(tidr.render(scene), target)

    (gradient,) = tape_gradients(loss, [node.translation])
    for axis in range(2):
        assert gradient[axis] < 0
        for step in (0.01, 0.1, 0.2):
            values = []
            for sign in (1, -1):
                node.translation.set(np.eye(3)[axis] * step * sign)
                values.append(float(loss()))
            np.testing.assert_allclose(gradient[axis], (values[0] - values[1]) / (2 * step), rtol=1e-3)
            node.translation.set(np.zeros(3))


@pytest.mark.row(19)
def test_the_area_of_a_disc_grows_by_its_circumference(f64):
    # Edges of 29 pixels: at each corner about 0.4 pixels of outline belong to no edge of the pixel's own triangle.
    angles = 2 * np.pi * np.arange(48) / 48
    rim = np.stack([np.cos(angles), np.sin(angles)], 1)
    faces = [[0, 1 + k, 1 + (k + 1) % 48] for k in range(48)]
    scene = flat_scene(np.concatenate([[[0, 0]], rim]), faces, 480)
    node, renderer = scene["shape"], tidr.Rasterizer(channels=("alpha",))
    for radius, centre in ((226.3, (240.2, 239.7)), (231.9, (239.5, 241.1)), (218.6, (238.3, 240.8))):
        node.translation.set([*centre, 0])
        node.scale.set(radius)
        picture = tidr.render(scene, renderer=renderer).alpha.numpy()
        np.testing.assert_allclose(picture.sum(), 24 * np.sin(np.pi / 24) * radius**2, rtol=1e-3)
        (gradient,) = tape_gradients(lambda: weighted(tidr.render(scene, renderer=renderer).alpha, 1.0), [node.scale])
        np.testing.assert_allclose(gradient, 2 * np.pi * radius, rtol=0.02)


@pytest.mark.row(19)
def test_a_uv_seam_is_no_silhouette(f64):
    vertices, faces = tidr.icosphere(2)
    uvs = 0.5 + 0.2 * vertices[:, :2]
    pictures, gradients = [], []
    for cut in (False, True):
        given = (
            {"uvs": uvs[faces].reshape(-1, 2), "uv_faces": np.arange(faces.size).reshape(-1, 3)}
            if cut
            else {"uvs": uvs}
        )
        scene = tidr.Scene()
        texels = np.random.default_rng(0).uniform(size=(8, 8, 3))
        scene.add_material("paint", tidr.Material("lambert", albedo=tidr.Texture(texels)))
        scene.add_node("blob", tidr.Node(tidr.Mesh(vertices, faces, **given), ("paint",)))
        scene.add_light("sky", tidr.AmbientLight(1.0))
        scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=50, width=40, height=40))
        with tidr.Tape() as tape:
            image = tidr.render(scene)
            tape.add(tidr.losses.mse(image, np.full((40, 40, 3), 0.2)))
        pictures.append(image.rgb.numpy())
        gradients.append(scene["blob"].vertices.grad_numpy())
    np.testing.assert_allclose(*pictures, atol=1e-12)
    np.testing.assert_allclose(*gradients, rtol=1e-8, atol=1e-12)
    plain = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"))
    changed = (np.abs(plain.rgb.numpy() - pictures[1]) > 1e-9).any(-1)
    covered = plain.alpha.numpy()[..., 0] > 0
    fringe = covered & ~shrunk(covered) | ~covered & grown(covered)
    assert changed.any()
    assert not (changed & ~fringe).any()


def grown(mask: np.ndarray) -> np.ndarray:
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide


def shrunk(mask: np.ndarray) -> np.ndarray:
    return ~grown(~mask)


@pytest.mark.row(19)
def test_the_blend_is_linear_in_colours(f64):
    # Colours have an exact gradient through the blend: background-free and background pixels alike.
    rng = np.random.default_rng(2)
    vertices, faces = blob(6)
    scene = tidr.Scene(tidr.Film(24, 24, (0.3, 0.1, 0.6)))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    mesh = tidr.Mesh(vertices, faces, colors=rng.uniform(0.2, 0.8, vertices.shape))
    scene.add_node("blob", tidr.Node(mesh, ("paint",)))
    scene.add_light("sky", tidr.AmbientLight((0.7, 0.8, 0.9)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=50, width=24, height=24))
    weights = rng.normal(size=(24, 24, 3))
    directional_check(
        lambda: weighted(tidr.render(scene).rgb, weights), [mesh.colors, scene["sky"].radiance], f64, directions=2
    )


def test_antialiasing_keeps_the_sum_of_a_pair_between_two_objects(f64):
    # A near rectangle in front of a far one: each row is the exact mixture of the two at the near one's edge.
    near, _ = rectangle(-9, 6.3, -9, 30)
    far, _ = rectangle(-9, 30, -9, 30)
    vertices = np.array([[*p, 1.0] for p in near] + [[*p, 0.0] for p in far])
    scene = flat_scene(vertices, [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], face_materials=[0, 0, 1, 1])
    scene.add_material("grey", tidr.Material("lambert", albedo=0.25))
    scene["shape"].materials = ("white", "grey")
    rows = tidr.render(scene).rgb.numpy()[..., 0].sum(1)
    np.testing.assert_allclose(rows, 6.3 + 0.25 * (SIDE - 6.3), rtol=1e-12)
    (gradient,) = tape_gradients(lambda: weighted(tidr.render(scene).rgb, 1.0), [scene["shape"].vertices])
    np.testing.assert_allclose(gradient[[1, 2], 0].sum(), 3 * SIDE * 0.75, rtol=1e-12)
    assert (gradient[4:] == 0).all()
