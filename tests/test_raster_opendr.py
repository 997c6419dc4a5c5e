"""OpenDR's gradient: exact on ramps, at outlines against a numpy twin, and fits that it solves or does not."""

import numpy as np
import pytest

import tidr

from .gradients import tape_gradients, weighted
from .test_raster import facets
from .test_raster_antialias import SIDE, flat_scene, rectangle

OPENDR, PLAIN = tidr.Rasterizer(edges="opendr"), tidr.Rasterizer(edges="none")


def painted(vertices, faces, colors) -> tidr.Scene:
    scene = flat_scene(vertices, faces, background=(0.4, 0.1, 0.2), colors=colors, shading="flat")
    scene["shape"].materials = ("paint",)
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    return scene


@pytest.mark.row(6)
def test_a_ramp_moves_as_it_should(f64):
    """The picture is linear all over, so that its differences are the derivative: in depth and under lights, too."""
    rng = np.random.default_rng(0)
    corners, faces = rectangle(-2, 2, -2, 2)
    scene = painted(
        np.column_stack([corners, np.zeros(4)]), faces, 0.5 + np.array(corners) @ [[0.2, 0.1, 0], [0, 0.1, -0.2]]
    )
    scene.add_light("sun", tidr.DirectionalLight((-0.2, -0.3, -1.0), 2.0))
    camera = tidr.Camera.look_at((0.1, 0.2, 3), (0.1, 0.2, 0), fov_y_degrees=40, width=SIDE, height=SIDE)
    weights = rng.normal(size=(SIDE, SIDE, 3))
    names = ("shape.vertices", "shape.translation", "shape.colors", "sun.direction", "sun.irradiance")
    arrays = [scene.parameters()[name] for name in names] + [camera.position, camera.focal]
    found = [
        tape_gradients(lambda r=renderer: weighted(tidr.render(scene, camera, r).rgb, weights), arrays)
        for renderer in (OPENDR, PLAIN)
    ]
    for name, opendr, exact in zip([*names, "position", "focal"], *found, strict=True):
        assert exact.any(), name
        np.testing.assert_allclose(opendr, exact, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(
        tidr.render(scene, camera, OPENDR).rgb.numpy(), tidr.render(scene, camera, PLAIN).rgb.numpy()
    )


def pile(z=(0.0, 1.0, 2.0)) -> tuple[tidr.Scene, np.ndarray]:
    """A quad under two loose triangles of one mesh, and which of the triangles are one object."""
    rng = np.random.default_rng(3)
    corners = [[1.3, 2.2], [13.1, 1.4], [14.7, 12.8], [2.6, 14.2]]
    loose = [[3.4, 6.7], [15.4, 3.3], [9.2, 11.6], [-2.0, 4.1], [8.3, 1.2], [7.1, 17.4]]
    depth = np.repeat(z, [4, 3, 3])
    vertices = np.column_stack([np.array(corners + loose), depth])
    scene = painted(vertices, [[0, 1, 2], [0, 2, 3], [4, 5, 6], [7, 8, 9]], rng.uniform(0.1, 0.9, (10, 3)))
    return scene, np.array([0, 0, 1, 2, -1])


def expected(scene: tidr.Scene, picture: np.ndarray, objects: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dL/dvertices [V, 3] of L = sum(weights * picture) by differences of the picture, one pixel after another."""
    image, mesh = tidr.render(scene, renderer=PLAIN), scene["shape"].mesh
    ids, bary, depth = image.ids, image.barycentrics.numpy(), image.depth.numpy()[..., 0]
    thing, depth = objects[ids], np.where(ids < 0, 1e9, depth)
    gradient = np.zeros((mesh.vertices.rows, 3))
    for place in np.argwhere(ids >= 0):
        for axis, direction in ((1, 1.0), (0, -1.0)):  # columns go along x, rows against y
            own, moved, slopes = tuple(place), 0.0, []
            for side in (-1, 1):
                other = tuple(place + side * np.eye(2, dtype=int)[axis])
                if not 0 <= other[axis] < SIDE:
                    continue
                step = side * (picture[other] - picture[own])
                if thing[other] == thing[own]:
                    slopes.append(step)
                elif depth[other] > depth[own]:
                    moved -= (step * (weights[own] + weights[other]) / 2).sum()
            moved -= (np.mean(slopes, 0) * weights[own]).sum() if slopes else 0.0
            gradient[mesh.faces[ids[own]], 1 - axis] += direction * moved * bary[own]
    return gradient


@pytest.mark.row(6)
def test_steps_go_to_what_hides(backend):
    scene, objects = pile()
    rng = np.random.default_rng(1)
    for channel, channels in (("rgb", 3), ("alpha", 1)):
        weights = rng.normal(size=(SIDE, SIDE, channels))
        picture = tidr.render(scene, renderer=PLAIN).channel(channel).numpy().astype(float)
        (gradient,) = tape_gradients(
            lambda c=channel, w=weights: weighted(tidr.render(scene, renderer=OPENDR).channel(c), w),
            [scene["shape"].vertices],
        )
        known = expected(scene, picture, objects, weights)
        exact = 1e-9 if backend.precision == 64 else 1e-4
        np.testing.assert_allclose(gradient, known, rtol=exact, atol=exact)
        assert np.abs(known[:, :2]).max() > 0.1


@pytest.mark.row(6)
def test_instances_hide_each_other_however_small_their_triangles(f64):
    """A ball of triangles below a pixel before a wall: its width grows by one pixel a pixel and row."""
    vertices, faces = tidr.icosphere(4)
    scene = flat_scene([[-9, -9, -9], [30, -9, -9], [30, 30, -9], [-9, 30, -9]], [[0, 1, 2], [0, 2, 3]])
    scene.add_material("black", tidr.Material("lambert", albedo=0.0))
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices, faces), ("black",), None, (8.1, 7.8, 0), scale=5.0))
    push = np.sign(np.arange(SIDE) - 7.6)[:, None, None] * np.ones((SIDE, 3))  # towards both sides at once
    (gradient,) = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=OPENDR).rgb, -push.transpose(1, 0, 2)), [scene["ball"].translation]
    )
    dark = tidr.render(scene, renderer=PLAIN).rgb.numpy()[..., 0] < 0.5
    assert gradient[0] == pytest.approx(3 * 2 * dark.any(1).sum(), rel=1e-9)


@pytest.mark.row(6)
def test_both_upright_edges_of_a_square_push_their_way(f64):
    scene = flat_scene(*rectangle(4.3, 10.3, 3.3, 9.3))
    (gradient,) = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=OPENDR).alpha, 1.0), [scene["shape"].vertices]
    )
    assert (gradient[[0, 3], 0] < 0).all()
    assert (gradient[[1, 2], 0] > 0).all()
    np.testing.assert_allclose(gradient[:, 0].sum(), 0, atol=1e-12)
    np.testing.assert_allclose(gradient[[1, 2], 0].sum(), 5.0)  # a little less than 6 rows: pixels lie within the edge


def check_constant_colours(edges: str) -> None:
    scene = facets()
    with tidr.Tape() as tape:
        image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges))
        tape.add(tidr.losses.mse(image, np.random.default_rng(0).uniform(size=(24, 24, 3))))
    assert scene["facets"].vertices.grad_numpy().any()
    assert scene["white"].parameters()["albedo"].grad_numpy().all()


@pytest.mark.row(5)
def test_constant_colours_have_a_gradient(f64):
    check_constant_colours("opendr")


def test_two_views_are_two_pictures(f64):
    scene, _ = pile()
    cameras = [scene["front"], tidr.Camera.look_at((6, 9, 30), (8, 8, 0), fov_y_degrees=30, width=SIDE, height=SIDE)]
    weights = np.random.default_rng(2).normal(size=(2, SIDE, SIDE, 3))

    def gradient(chosen, parts) -> np.ndarray:
        return tape_gradients(
            lambda: weighted(tidr.render(scene, chosen, OPENDR).rgb, parts), [scene["shape"].vertices]
        )[0]

    both = gradient(cameras, weights)
    np.testing.assert_allclose(both, sum(gradient([cameras[k]], weights[k : k + 1]) for k in range(2)), rtol=1e-9)


@pytest.mark.long
@pytest.mark.row(6)
@pytest.mark.parametrize("name", ["T1", "T2"])
def test_a_shape_finds_its_place_and_size(f32, name):
    from tidr.problems.runner import problems, solve

    result = solve(problems([name])[0], "opendr")
    assert result.solved, result


@pytest.mark.long
@pytest.mark.row(7)
@pytest.mark.parametrize("levels", [1, 5])
def test_what_does_not_touch_needs_a_pyramid(f32, levels):
    """A disc of radius 8 pixels, 20 pixels off."""
    from tidr.problems.runner import Softness
    from tidr.problems.shapes import moved_disc

    task = moved_disc(20, 0.25, 1e-2, Softness(sigma=(1e-4, 1e-4)))
    renderer = tidr.Rasterizer(edges="opendr", channels=("alpha",))
    for _ in range(150):
        with tidr.Tape() as tape:
            image = tidr.render(task.scene, list(task.cameras), renderer)
            tape.add(tidr.losses.multi_scale(image.alpha, task.targets["alpha"], levels=levels))
        task.optimizer.step()
    assert (task.error() < 0.5) == (levels > 1), task.error()
