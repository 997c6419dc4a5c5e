"""Transforms, cameras, the scene graph and meshes: closed forms, adjoints by differences, and refusals."""

import numpy as np
import pytest

import tidr
from tidr.scene.transform import (
    compose,
    compose_adjoint,
    look_at_rotation,
    quaternion_from_euler,
    quaternion_from_rotation,
    rotation_adjoint,
    rotation_from_quaternion,
)

from .everything import everything
from .test_raster import facets


def slopes(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function, entry by entry."""
    at = np.asarray(at, np.float64)
    found = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        moved = at.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        found[index] = (above - function(moved)) / (2 * step)
    return found


# Rotations.


@pytest.mark.row(127)
def test_quaternions_and_rotations_turn_into_each_other():
    rng = np.random.default_rng(0)
    turns = [rng.normal(size=4) for _ in range(50)]
    turns += [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1e-9, 1, 1, 0], [0, 0.6, -0.8, 0]]
    for turn in turns:
        unit = np.asarray(turn, float) / np.linalg.norm(turn)
        rotation = rotation_from_quaternion(np.asarray(turn, float))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
        np.testing.assert_allclose(np.linalg.det(rotation), 1)
        back = quaternion_from_rotation(rotation)
        np.testing.assert_allclose(rotation_from_quaternion(back), rotation, atol=1e-12)
        np.testing.assert_allclose(np.abs(back @ unit), 1, atol=1e-12)


@pytest.mark.row(127)
def test_euler_angles_turn_about_x_then_y_then_z():
    np.testing.assert_allclose(
        rotation_from_quaternion(quaternion_from_euler((90, 0, 0))) @ [0, 1, 0], [0, 0, 1], atol=1e-15
    )
    np.testing.assert_allclose(
        rotation_from_quaternion(quaternion_from_euler((0, 90, 0))) @ [0, 0, 1], [1, 0, 0], atol=1e-15
    )
    np.testing.assert_allclose(
        rotation_from_quaternion(quaternion_from_euler((0, 0, 90))) @ [1, 0, 0], [0, 1, 0], atol=1e-15
    )
    x, y, z = (rotation_from_quaternion(quaternion_from_euler(a)) for a in ((20, 0, 0), (0, -70, 0), (0, 0, 130)))
    together = rotation_from_quaternion(quaternion_from_euler((20, -70, 130)))
    np.testing.assert_allclose(together, z @ y @ x, atol=1e-14)
    angles = [np.arctan2(together[2, 1], together[2, 2]), -np.arcsin(together[2, 0])]
    angles.append(np.arctan2(together[1, 0], together[0, 0]))
    np.testing.assert_allclose(np.degrees(angles), (20, -70, 130), atol=1e-10)


@pytest.mark.row(127)
def test_a_small_angle_has_the_axis_as_its_slope():
    for axis in np.eye(3):
        angle = 1e-7
        turn = np.append(np.cos(angle / 2), np.sin(angle / 2) * axis)
        slope = (rotation_from_quaternion(turn) - np.eye(3)) / angle
        np.testing.assert_allclose(slope, np.cross(axis, np.eye(3)).T, atol=1e-6)


@pytest.mark.row(127)
def test_adjoints_of_rotation_and_composition():
    rng = np.random.default_rng(1)
    for turn in (rng.normal(size=4), rng.normal(size=4) * 3, np.array([1, 1e-8, 0, 0])):
        upstream = rng.normal(size=(3, 3))
        found = rotation_adjoint(turn, upstream)
        expected = slopes(lambda q, upstream=upstream: (rotation_from_quaternion(q) * upstream).sum(), turn)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)
        assert abs(found @ turn) < 1e-12
    shift, turn = rng.normal(size=3), rng.normal(size=4)
    upstream = rng.normal(size=(4, 4))
    upstream[3] = 0
    for scale in (np.float64(1.7), np.array([0.5, 1.2, 2.0])):
        found = compose_adjoint(turn, scale, upstream)
        for k, at in enumerate((shift, turn, scale)):

            def value(moved, k=k, scale=scale):
                parts = [shift, turn, scale]
                parts[k] = moved
                return (compose(*parts) * upstream).sum()

            np.testing.assert_allclose(found[k], slopes(value, at), rtol=1e-7, atol=1e-8)
            assert found[k].shape == np.shape(at)


# Cameras.


def shown(camera: tidr.Camera, points, width: int, height: int) -> np.ndarray:
    """[n, 3] column, row and depth of world points."""
    matrix, _ = camera.projection(width, height)
    flat = np.asarray(points, float) @ matrix[:, :3].T + matrix[:, 3]
    return np.concatenate([flat[:, :2] / flat[:, 2:3], flat[:, 3:]], 1)


@pytest.mark.row(153)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (120, 40), (30, 90)])
def test_opencv_cameras_project_as_opencv_does(f64, width, height):
    rng = np.random.default_rng(width)
    K = np.array([[70.0, 0, width * 0.45], [0, 55.0, height * 0.6], [0, 0, 1]])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation_from_quaternion(rng.normal(size=4))
    world_to_camera[:3, 3] = rng.normal(size=3) + np.array([0, 0, 6])
    points = rng.normal(size=(20, 3))
    seen = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    pixels = seen @ K.T
    expected = np.concatenate([pixels[:, :2] / pixels[:, 2:], seen[:, 2:]], 1)
    for matrix in (world_to_camera, world_to_camera[:3]):
        camera = tidr.Camera.from_opencv(K, matrix, width, height)
        np.testing.assert_allclose(shown(camera, points, width, height), expected, rtol=1e-9)
    # Pictures of twice the size show the same at twice the coordinates.
    doubled = expected * [2, 2, 1]
    np.testing.assert_allclose(shown(camera, points, 2 * width, 2 * height), doubled, rtol=1e-9)
    # Back: K and pose of the camera.
    np.testing.assert_allclose(camera.focal.numpy(), [70, 55])
    np.testing.assert_allclose(camera.principal_point.numpy(), [width * 0.45, height * 0.6])
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(flip @ np.linalg.inv(camera.camera_to_world), world_to_camera, atol=1e-12)
    with pytest.raises(tidr.SceneError, match="skew"):
        tidr.Camera.from_opencv(K + np.diag([2.0, 0], 1), world_to_camera, width, height)


@pytest.mark.row(153)
def test_look_at_puts_the_target_in_the_middle(f64):
    camera = tidr.Camera.look_at((3, 2, 5), (0.5, -1, 0), fov_y_degrees=40, width=80, height=60)
    target = shown(camera, [(0.5, -1, 0)], 80, 60)[0]
    np.testing.assert_allclose(target, [40, 30, np.linalg.norm([2.5, 3, 5])], rtol=1e-12)
    up = camera.camera_to_world[:3, 1]
    assert up[1] > 0
    # Half the angle up, at any distance, is the top of the picture.
    forward = -camera.camera_to_world[:3, 2]
    for distance in (0.5, 7.0):
        top = np.array([3, 2, 5]) + distance * (forward + np.tan(np.radians(20)) * up)
        np.testing.assert_allclose(shown(camera, [top], 80, 60)[0], [40, 0, distance], atol=1e-10)
    np.testing.assert_allclose(look_at_rotation((0, 0, 1), (0, 0, 0), (0, 1, 0), "camera"), np.eye(3), atol=1e-15)
    for wrong in ({"target": (3, 2, 5)}, {"target": (3, 9, 5)}):
        with pytest.raises(tidr.SceneError, match="camera"):
            tidr.Camera.look_at((3, 2, 5), fov_y_degrees=40, **wrong)


@pytest.mark.row(154)
def test_an_orthographic_camera_keeps_sizes(f64):
    camera = tidr.Camera.look_at((0, 0, 9), (0, 0, 0), height_world=4.0, width=90, height=60)
    points = [(0, 0, 0), (1, 0, 3), (0, 2, -50), (-3, -2, 8)]
    expected = [[45, 30, 9], [60, 30, 6], [45, 0, 59], [0, 60, 1]]
    np.testing.assert_allclose(shown(camera, points, 90, 60), expected, atol=1e-12)


@pytest.mark.row(153)
@pytest.mark.row(154)
@pytest.mark.parametrize("orthographic", [False, True])
def test_the_adjoint_of_a_camera(f64, orthographic):
    rng = np.random.default_rng(2)
    view = {"height_world": 3.0} if orthographic else {"fov_y_degrees": 50}
    camera = tidr.Camera.look_at((1, 2, 3), (0, 0.3, 0), width=40, height=30, **view)
    camera.rotation.set(camera.rotation.numpy() * 1.3)  # the length must not matter
    to_matrix, to_eye = rng.normal(size=(4, 4)), rng.normal(size=4)
    to_eye[3] = 0
    found = camera.projection_adjoint(60, 50, to_matrix, to_eye)
    assert set(found) == {"position", "rotation", "focal", "principal_point"}
    for name, parameter in camera.parameters().items():
        start = parameter.numpy()

        def value(moved, parameter=parameter):
            parameter.set(moved)
            matrix, eye = camera.projection(60, 50)
            return (matrix * to_matrix).sum() + (eye * to_eye).sum()

        expected = slopes(value, start)
        parameter.set(start)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_the_eye_is_where_the_camera_stands(f64):
    camera = tidr.Camera.look_at((1, 2, 3), (0, 0, 0), fov_y_degrees=50)
    _, eye = camera.projection(10, 10)
    np.testing.assert_allclose(eye, [1, 2, 3, 1])
    camera = tidr.Camera.look_at((1, 2, 2), (0, 0, 0), height_world=2.0)
    _, eye = camera.projection(10, 10)
    np.testing.assert_allclose(eye, [1 / 3, 2 / 3, 2 / 3, 0], atol=1e-12)


def test_orbits_and_spheres_of_cameras_look_at_their_target(f64):
    target = np.array([0.3, -0.2, 0.5])
    circle = tidr.orbit(8, 4.0, target, elevation_degrees=30, fov_y_degrees=40, width=20, height=20)
    sphere = tidr.sphere_views(20, 4.0, target, fov_y_degrees=40, width=20, height=20)
    for camera in circle + sphere:
        np.testing.assert_allclose(shown(camera, [target], 20, 20)[0], [10, 10, 4], rtol=1e-9)
    heights = [camera.position.numpy()[1] - target[1] for camera in circle]
    np.testing.assert_allclose(heights, 4 * np.sin(np.radians(30)))
    places = np.array([camera.position.numpy() for camera in sphere]) - target
    np.testing.assert_allclose(places.mean(0), 0, atol=0.2)
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(20)
    assert gaps.min() > 1.0


def test_cameras_that_make_no_sense_are_refused(f64):
    plain = {"position": (0, 0, 1), "rotation": (1, 0, 0, 0), "focal": (5, 5), "principal_point": (2, 2)}
    plain |= {"width": 4, "height": 4}
    tidr.Camera(**plain)
    for wrong in ({"kind": "fisheye"}, {"width": 0}, {"near": 0.0}, {"near": 2.0, "far": 1.0}, {"focal": (0, 5)},
                  {"rotation": (0, 0, 0, 0)}):  # fmt: skip
        with pytest.raises(tidr.SceneError, match="camera"):
            tidr.Camera(**(plain | wrong))
    for wrong in ({}, {"fov_y_degrees": 40, "height_world": 2}, {"fov_y_degrees": 180}, {"fov_y_degrees": -5}):
        with pytest.raises(tidr.SceneError, match="camera"):
            tidr.Camera.look_at((0, 0, 1), (0, 0, 0), **wrong)


# The graph.


@pytest.mark.row(127)
def test_transforms_of_parents_come_before(f64):
    scene = tidr.Scene()
    scene.add_node("hand", tidr.Node(None, (), "arm", (1, 0, 0), (1, 0, 0, 0), 2.0))
    scene.add_node("arm", tidr.Node(None, (), "body", (0, 3, 0), quaternion_from_euler((0, 0, 90)), (1, 2, 3)))
    scene.add_node("body", tidr.Node(None, (), None, (10, 0, 0)))
    assert [node.name for node in scene.ordered_nodes()] == ["body", "arm", "hand"]
    hand = scene.world_matrices()["hand"] @ [0, 1, 0, 1]
    # (0, 1, 0) scaled to (0, 2, 0), moved to (1, 2, 0), scaled to (1, 4, 0), turned to (-4, 1, 0), moved by (10, 3, 0).
    np.testing.assert_allclose(hand, [6, 4, 0, 1], atol=1e-12)


@pytest.mark.row(127)
def test_the_adjoint_of_the_hierarchy(f64):
    rng = np.random.default_rng(5)
    scene = tidr.Scene()
    for name, parent in (("root", None), ("left", "root"), ("right", "root"), ("leaf", "left"), ("apart", None)):
        scene.add_node(
            name, tidr.Node(None, (), parent, rng.normal(size=3), rng.normal(size=4), rng.uniform(0.5, 2, 3))
        )
    upstream = {name: np.vstack([rng.normal(size=(3, 4)), np.zeros(4)]) for name in ("leaf", "right", "left")}
    found = scene.world_adjoint(upstream)
    assert set(found) == {"root", "left", "right", "leaf"}
    for name, parts in found.items():
        for part, parameter in zip(parts, scene.nodes[name].transform_parameters().values(), strict=True):
            start = parameter.numpy()

            def value(moved, parameter=parameter):
                parameter.set(moved)
                worlds = scene.world_matrices()
                return sum((worlds[key] * given).sum() for key, given in upstream.items())

            expected = slopes(value, start)
            parameter.set(start)
            np.testing.assert_allclose(part, expected, rtol=1e-6, atol=1e-7)


def test_faults_of_the_graph_are_named(f64):
    scene = tidr.Scene()
    scene.add_node("duck", tidr.Node())
    scene.add_node("pond", tidr.Node(parent="duk"))
    with pytest.raises(tidr.SceneError, match=r"nodes\.pond\.parent: no node 'duk' \(did you mean 'duck'"):
        scene.ordered_nodes()
    scene.nodes["pond"].parent = "duck"
    scene.nodes["duck"].parent = "pond"
    with pytest.raises(tidr.SceneError, match="its own ancestor: duck > pond > duck"):
        scene.world_matrices()
    scene.nodes["duck"].parent = "duck"
    with pytest.raises(tidr.SceneError, match="ancestor"):
        scene.world_matrices()
    for add in (scene.add_material, scene.add_light, scene.add_camera, scene.add_node):
        with pytest.raises(tidr.SceneError, match="twice"):
            add("duck", tidr.Node())
    for name in ("", "a.b"):
        with pytest.raises(tidr.SceneError, match="no valid name"):
            scene.add_node(name, tidr.Node())
    with pytest.raises(tidr.SceneError, match="did you mean 'pond'"):
        scene["pod"]
    deep = tidr.Scene()
    for k in range(66):
        deep.add_node(f"n{k}", tidr.Node(parent=f"n{k + 1}" if k < 65 else None))
    with pytest.raises(tidr.SceneError, match="64 levels"):
        deep.ordered_nodes()
    for wrong in ({"rotation": (0, 0, 0, 0)}, {"scale": 0.0}, {"scale": (1, -1, 1)}, {"scale": (1, 2)}):
        with pytest.raises(tidr.SceneError, match=next(iter(wrong))):
            tidr.Node(**wrong)


def test_parameters_have_dotted_paths(f64):
    scene = everything()
    everything_there = scene.parameters()
    for path in ("left.vertices", "left.colors", "left.uvs", "right.normals", "left.heat", "table.translation",
                 "right.rotation", "matte.albedo", "metal.roughness", "bulb.position", "sun.direction", "sky.radiance",
                 "front.focal", "front.principal_point"):  # fmt: skip
        assert everything_there[path].path == path
    assert set(scene.parameters("left.*", "*.irradiance")) == {
        path for path in everything_there if path.startswith("left.") or path.endswith(".irradiance")
    }
    with pytest.raises(tidr.SceneError, match=r"did you mean 'left\.vertices'"):
        scene.parameters("left.vertex")
    with pytest.raises(tidr.SceneError, match=r"left\.uv.*no such parameter"):
        everything_there["left.uv"]
    assert "front" in scene
    assert "back" not in scene
    mesh = scene["left"].mesh
    scene.add_node("twin", tidr.Node(mesh, ("matte", "waxed")))
    assert "twin.vertices" not in list(scene.parameters())
    assert "twin.translation" in list(scene.parameters())


# Meshes.


@pytest.mark.row(118)
def test_meshes_that_contradict_themselves_are_refused(f64):
    corners, face = np.eye(3), [[0, 1, 2]]
    tidr.Mesh(corners, face)
    wrong = {
        "faces.*face 1 is": {"faces": [[0, 1, 2], [0, 1, 3]]},
        r"faces.*-1": {"faces": [[0, -1, 2]]},
        "faces.*integers": {"faces": [[0.0, 1.0, 2.0]]},
        r"faces.*triangulate": {"faces": [[0, 1, 2, 0]]},
        r"vertices.*expected \[n, 3\]": {"vertices": np.zeros((3, 2))},
        "at least one triangle": {"faces": np.zeros((0, 3), int)},
        r"uvs.*\[n, 2\]": {"uvs": np.zeros((3, 3))},
        "uv_faces.*face 0": {"uvs": np.zeros((2, 2))},
        "uv_faces.*2 faces": {"uvs": np.zeros((3, 2)), "uv_faces": face * 2},
        "colors.*one per vertex": {"colors": np.zeros((2, 3))},
        "heat.*one per vertex": {"attributes": {"heat": np.zeros((4, 1))}},
        "face_materials": {"face_materials": [0, 1]},
        "shading.*smooth, flat, file": {"shading": "round"},
        "shading.*no normals": {"shading": "file"},
    }
    for match, change in wrong.items():
        with pytest.raises(tidr.SceneError, match=match):
            tidr.Mesh(**({"vertices": corners, "faces": face} | change))


def test_a_sphere_of_triangles(f64):
    for level in range(4):
        vertices, faces = tidr.icosphere(level, 2.0)
        assert vertices.shape == (10 * 4**level + 2, 3)
        assert faces.shape == (20 * 4**level, 3)
        np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 2)
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        assert (np.einsum("fc,fc->f", np.cross(b - a, c - a), a + b + c) > 0).all()
        topology = tidr.Mesh(vertices, faces).topology
        assert topology.closed
        assert topology.oriented
        assert topology.euler_characteristic == 2


def test_materials_of_faces_are_kept_apart(f64):
    scene = facets()
    image = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"))
    color = np.array([0.2, 1.0, 0.2, np.nan])[image.ids]
    hit = image.ids >= 0
    np.testing.assert_allclose(image.rgb.numpy()[hit], np.repeat(color[hit][:, None], 3, 1), rtol=1e-12)
    np.testing.assert_allclose(image.rgb.numpy()[~hit], [[0.1, 0.2, 0.3]] * int((~hit).sum()))
    np.testing.assert_array_equal(image.alpha.numpy()[..., 0], hit)
