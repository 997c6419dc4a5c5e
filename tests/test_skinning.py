"""Skinning by linear blends and by dual quaternions: motions, gradients, weights found from poses."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.scene.transform import rotation_from_quaternion
from tidr.skinning import METHODS

from .conftest import start
from .gradients import directional_check, tape_gradients, weighted

in_f64: dict[str, list[np.ndarray]] = {}


def arm(rings: int = 9, joints: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube along x from 0 to 2: vertices, faces, and weights that go over from joint to joint."""
    x, turn = np.repeat(np.linspace(0, 2, rings), 8), np.tile(np.arange(8) * np.pi / 4, rings)
    a = np.arange(8 * rings - 8)
    b = a - a % 8 + (a + 1) % 8
    near = np.exp(-8 * (x[:, None] - np.linspace(0.3, 1.7, joints)) ** 2)
    vertices = np.stack([x, 0.3 * np.cos(turn), 0.3 * np.sin(turn)], 1)
    return vertices, np.stack([a, b, b + 8, a + 8], 1), near / near.sum(1, keepdims=True)


def poses(count: int) -> np.ndarray:
    """[count, 3, 7]"""
    rng = np.random.default_rng(1)
    found = rng.normal(size=(count, 3, 7)) * ([0] + [0.5] * 3 + [1] * 3) + np.eye(7)[0]
    found[..., :4] *= rng.uniform(0.5, 2, (count, 3, 1))
    return found


@pytest.mark.row(127, 207)
@pytest.mark.parametrize("method", METHODS)
def test_one_motion_of_all_joints_is_that_motion_and_its_inverse_leads_back(f64, method):
    vertices, _, weights = arm()
    for pose in poses(5)[:, 0]:
        turn, shift = rotation_from_quaternion(pose[:4]), pose[4:]
        there = tidr.skin(vertices, weights, [pose, pose * ([-1] * 4 + [1] * 3), pose], method).numpy()
        np.testing.assert_allclose(there, vertices @ turn.T + shift, atol=1e-12)
        inverse = [*(pose[:4] * (1, -1, -1, -1)), *(-shift @ turn)]
        np.testing.assert_allclose(tidr.skin(there, weights, [inverse] * 3, method).numpy(), vertices, atol=1e-12)


@pytest.mark.row(127, 207)
def test_linear_blends_shrink_what_is_twisted_and_dual_quaternions_do_not(f64):
    vertices, _, weights = arm(joints=2)
    twist = np.array([[1.0, 0, 0, 0, 0, 0, 0], [np.cos(1.5), np.sin(1.5), 0, 0, 0, 0, 0]])  # 3 radians about x
    linear = tidr.skin(vertices, weights, twist).numpy()
    expected = sum(weights[:, [k]] * (vertices @ rotation_from_quaternion(twist[k, :4]).T) for k in range(2))
    np.testing.assert_allclose(linear, expected, atol=1e-12)
    rigid = tidr.skin(vertices, 3 * weights, twist, "dual_quaternion").numpy()
    assert np.linalg.norm(linear[:, 1:], axis=1).min() < 0.1
    np.testing.assert_allclose(np.linalg.norm(rigid[:, 1:], axis=1), 0.3, atol=1e-12)
    np.testing.assert_allclose(rigid[:, 0], vertices[:, 0], atol=1e-12)


def check_gradients(method: str, backend) -> None:
    vertices, _, weights = arm(5)
    arrays = [tidr.Parameter(each) for each in (vertices, weights + 0.05, poses(1)[0])]
    upstream = np.random.default_rng(4).normal(size=vertices.shape)

    def loss():
        return weighted(tidr.skin(*arrays, method), upstream)

    if backend.precision == 64:
        in_f64[method] = directional_check(loss, arrays, backend, directions=3)
        assert all(np.abs(gradient).max() > 1e-2 for gradient in in_f64[method])
    else:
        for exact, found in zip(in_f64[method], tape_gradients(loss, arrays), strict=True):
            assert np.linalg.norm(found - exact) <= backend.rtol * np.linalg.norm(exact)


@pytest.mark.row(127, 207)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_match_differences(f64, method):
    check_gradients(method, f64)


@pytest.mark.row(207)
@pytest.mark.parametrize("method", METHODS)
def test_weights_are_found_from_poses(f64, method):
    vertices, faces, weights = arm()
    mesh = tidr.SkinnedMesh(vertices, faces, np.full_like(weights, 1 / 3), poses(1)[0], method)
    given = [(pose, tidr.skin(vertices, weights, pose, method).numpy()) for pose in poses(6)]
    optimizer = tidr.Adam({"weights": mesh.weights}, lr=2e-2)
    for step in range(150):
        pose, target = given[step % 5]
        mesh.joints.set(pose)
        with tidr.Tape({"weights": mesh.weights}) as tape:
            tape.add(tidr.losses.mse(mesh.vertices(), target))
        optimizer.step()
    mesh.joints.set(given[5][0])  # a pose that was not seen
    off = np.linalg.norm(mesh.vertices().numpy() - given[5][1], axis=1)
    assert off.max() < 0.01 * np.ptp(given[5][1], axis=0).max()
    assert np.abs(mesh.weights.numpy() - weights).max() < 0.01


@pytest.mark.long
def test_a_skinned_mesh_is_drawn_and_its_joints_feel_the_picture(f64):
    vertices, faces, weights = arm()
    scene = tidr.Scene(tidr.Film(24, 24))
    scene.add_node("arm", tidr.Node(tidr.SkinnedMesh(vertices, faces, weights, [[1.0, 0, 0, 0, 0, 0, 0]] * 3)))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    scene.add_camera("front", tidr.Camera.look_at((1, 0, 4), (1, 0, 0), fov_y_degrees=45, width=24, height=24))
    joints = scene.parameters("arm.joints")["arm.joints"]
    with tidr.Tape() as tape:
        tape.add(weighted(tidr.render(scene).alpha, np.arange(24)[:, None]))
    to_left, _, to_right = joints.grad_numpy()[:, 4]  # outlines that move to the right uncover and cover
    assert to_left < -1
    assert to_right > 1


def test_what_cannot_be_skinned_is_said(f64):
    vertices, _, weights = arm()
    pose = poses(1)[0]
    for given, where in (
        ((vertices, weights[:, :2], pose), "3 joints"),
        ((vertices[:4], weights, pose), "4 vertices"),
        ((vertices, 0 * weights, pose), "sum to 0"),
        ((vertices, weights, 0 * pose), "length 0"),
        ((vertices, weights, pose[:, :6]), "skin.joints"),
        ((vertices, weights, pose, "cubic"), "skin.method"),
    ):
        with pytest.raises(SceneError, match=where):
            tidr.skin(*given)


def test_gradients_on_vulkan(vulkan):
    for method in METHODS:
        if method not in in_f64:  # where this runs alone
            check_gradients(method, start("cpu", 64))
    start(vulkan.arch, vulkan.precision)
    for method in METHODS:
        check_gradients(method, vulkan)
