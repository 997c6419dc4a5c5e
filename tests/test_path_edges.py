"""Edge sampling: what moving outlines and shadows change in the path tracer's pictures."""

import functools

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.optimizers import Adam
from tidr.kernels.path import edges as kernels
from tidr.renderers.path import PathTracer
from tidr.renderers.path_edges import edge_table
from tidr.scene.graph import Node
from tidr.scene.material import Material

from .edge_scenes import (
    ball_over_floor,
    blocked_sky,
    card_in_fog,
    cube,
    hidden_lamp,
    shadow,
    shining_square,
    wandering_square,
)
from .gradients import tape_gradients, weighted
from .path_scenes import disc

REPLICATES = 16
# Of opposite signs in neighbouring quarters of the picture, so that light which only wanders does not cancel.
QUARTERS = np.kron(np.random.default_rng(0).uniform(-1, 1, (2, 2, 1)), np.ones((4, 4, 1))) / 3


def seen(scene: tidr.Scene, weights, size=None, **options):
    """A weighted sum of the picture's channels."""
    options = {"max_depth": 2, "edges": "edge_sampling", **options}
    return weighted(tidr.render(scene, renderer=PathTracer(**options), width=size, height=size).rgb, weights)


def slopes_of_each(loss, arrays: list[Array], ways) -> np.ndarray:
    """[len(arrays), REPLICATES] derivatives by the tape as one of `arrays` moves along its way."""
    made = []
    for seed in range(REPLICATES):
        found = tape_gradients(functools.partial(loss, seed=1000 + seed), arrays)
        made.append([float((g * way).sum()) for g, way in zip(found, ways, strict=True)])
    return np.array(made).T


def slopes(loss, array: Array, way) -> np.ndarray:
    return slopes_of_each(loss, [array], [way])[0]


def differences(loss, array: Array, way, step: float) -> np.ndarray:
    """[REPLICATES] central differences, with equal random numbers on both sides."""
    at, made = array.numpy().astype(np.float64), []
    for seed in range(REPLICATES):
        ends = []
        for sign in (1, -1):
            array.set(at + sign * step * np.asarray(way))
            ends.append(float(loss(seed=seed, edges="none")))
        made.append((ends[0] - ends[1]) / (2 * step))
    array.set(at)
    return np.array(made)


def spread(values: np.ndarray) -> float:
    return values.std(ddof=1) / np.sqrt(len(values))


def same_mean(found: np.ndarray, expected, precision=0.025) -> None:
    """Within 3.3 standard errors, of which 2.5 % at most; a tenth more, four times as much, must be told apart."""
    expected = np.atleast_1d(expected)
    error = np.hypot(spread(found), spread(expected) if len(expected) > 1 else 0.0)
    difference = found.mean() - expected.mean()
    said = f"{found.mean():.5g} where {expected.mean():.5g} is expected, standard error {error:.2g}"
    assert abs(difference) < 3.3 * error, said
    assert error < precision * abs(expected.mean()), said
    assert abs((1 + 4 * precision) * found.mean() - expected.mean()) > 3.3 * error, said


def irradiance_past(rim: np.ndarray) -> float:
    """At the origin, facing up, from a sky of radiance 1 behind a dark polygon [n, 3] (Lambert's closed form)."""
    around = np.roll(rim, -1, 0)
    cross = np.cross(rim, around)
    angle = np.arctan2(np.linalg.norm(cross, axis=1), (rim * around).sum(1))
    return np.pi - abs((angle * cross[:, 1] / np.linalg.norm(cross, axis=1)).sum()) / 2


@pytest.mark.row(29)
@pytest.mark.row(104)
def test_a_disc_that_hides_the_sky_changes_irradiance_as_the_closed_form_says(f64):
    """E = pi h^2 / (r^2 + h^2), to a thousandth that of the polygon; only outlines and the floor's place change it."""
    scene = blocked_sky(radius=1.0, height=1.0)
    blocker, floor = scene["disc"], scene["floor"]
    rim = blocker.vertices.numpy().astype(np.float64)[:-1]
    outward = blocker.vertices.numpy() * (1.0, 0.0, 1.0)

    def loss(seed=0, **options):
        return seen(scene, np.pi / 3 / 64, 8, samples=1, edge_samples=64, seed=seed, **options)

    arrays = [blocker.vertices, blocker.translation, floor.translation]
    ways = [outward, np.array([0, 1, 0]), np.array([0, 1, 0])]
    for found, change, closed in zip(
        slopes_of_each(loss, arrays, ways), (rim * (1, 0, 1), (0, 1, 0), (0, -1, 0)),
        (-np.pi / 2, np.pi / 2, -np.pi / 2), strict=True,
    ):  # fmt: skip
        step = 1e-4 * np.asarray(change)
        expected = (irradiance_past(rim + step) - irradiance_past(rim - step)) / 2e-4
        assert expected == pytest.approx(closed, rel=2e-3)
        same_mean(found, expected)
    for inside, way in zip(tape_gradients(functools.partial(loss, edges="none"), arrays), ways, strict=True):
        assert abs((inside * way).sum()) < 1e-9


def test_an_outline_counts_as_far_as_what_it_bounds_hides(f64):
    """A disc under another, one letting through a quarter of the light and one half; the closed forms multiply."""
    scene = blocked_sky(radius=1.0, height=1.0)
    scene["black"].sources["opacity"].set(0.75)
    scene.add_material("veil", Material("lambert", albedo=0.0, opacity=0.5))
    scene.add_node("lower", Node(disc((0, 0.5, 0), 1.0, 128), ("veil",)))

    def loss(seed=0, **options):
        return seen(scene, np.pi / 3 / 64, 8, samples=1, edge_samples=32, seed=seed, **options)

    # Within 45 degrees both are there, from there to that of the veil's rim (sin^2 = 0.8) the veil alone.
    upper, lower = slopes_of_each(
        loss, [scene["disc"].translation, scene["lower"].translation], [np.array([0.0, 1.0, 0.0])] * 2
    )
    same_mean(upper, 0.75 * 0.5 * np.pi / 2)
    same_mean(lower, 0.5 * np.pi / 1.25**2)


CAMERAS = {
    "box": {"fov_y_degrees": 30},
    "orthographic": {"height_world": 2.0},
    "gaussian, lens": {"fov_y_degrees": 30, "aperture_radius": 0.1, "focus_distance": 3.0},
}


@pytest.mark.row(29)
@pytest.mark.row(30)
@pytest.mark.parametrize("kind", ["box", "orthographic", pytest.param("gaussian, lens", marks=pytest.mark.long)])
def test_a_shining_square_grows_on_the_film_as_its_area_does(f64, kind):
    """The picture's sum grows by the square's area in pixels; all of its derivative stands on the outline."""
    half, distance = 0.5, 4.0
    scene = shining_square(half, **CAMERAS[kind])
    jump = 1.0
    if kind == "gaussian, lens":  # and before a film's background in place of a dark sky
        scene.lights.pop("sky")
        scene.film.background, jump = (0.25, 0.25, 0.25), 0.75
    square, view = scene["square"], scene["front"]
    focal = float(view.focal.numpy()[0])
    area = jump * (2 * half * focal / (1.0 if kind == "orthographic" else distance)) ** 2
    corners = square.vertices.numpy().astype(np.float64)
    film = "gaussian" if "gaussian" in kind else "box"

    def loss(**options):
        return seen(scene, 1 / 3, max_depth=1, samples=1, edge_samples=64, film=film, **options)

    outward = np.sign(corners) * (1, 1, 0)
    by_corners, by_place, by_camera, by_focal = tape_gradients(
        loss, [square.vertices, square.translation, view.position, view.focal]
    )
    assert (by_corners * outward).sum() == pytest.approx(2 * area / half, rel=0.02)
    assert by_focal.sum() == pytest.approx(2 * area / focal, rel=0.02)
    nearer = 0.0 if kind == "orthographic" else 2 * area / distance
    assert by_place[2] == pytest.approx(nearer, rel=0.02, abs=1e-9)
    assert by_camera[2] == pytest.approx(-nearer, rel=0.02, abs=1e-9)
    inside = tape_gradients(functools.partial(loss, edges="none"), [square.vertices, view.position])
    assert all(abs(part).max() < 1e-9 for part in inside)


@pytest.mark.row(104)
def test_interior_and_edges_together_leave_a_picture_that_only_wanders_as_bright_as_it_is(f64):
    """Moved along the film with its lamp, a lit square sends the film as much as before; no part alone says so."""
    scene = wandering_square()

    def loss(seed=0, **options):
        return seen(scene, 1 / 3, samples=16, edge_samples=64, seed=seed, **options)

    way = (1.0, 0.0, 0.0)
    found = slopes(loss, scene["all"].translation, way)
    inside = slopes(functools.partial(loss, edges="none"), scene["all"].translation, way)
    assert abs(inside.mean()) > 20 * spread(found)
    assert abs(found.mean()) < 3.3 * spread(found)


# What is built, which nodes or cameras move and along what ways, the sum's weights, samples, edge samples, depth, and
# samples for differences.
UNDER_LAMP = {"block": (-0.6, -0.5, -0.6), "lamp": (-0.2, 0.9, -0.2), "above": (0.5, 0.3, 0.8)}
MOVES = {
    "block, lamp, camera": (lambda: shadow(0.0, 6.0), UNDER_LAMP, QUARTERS, 32, 64, 2, 256),
    "block, bounces": (lambda: shadow(0.3, 3.0), {"block": (-0.5, -0.6, -0.6)}, QUARTERS, 512, 256, 4, 1024),
    "smooth ball": (ball_over_floor, {"ball": (0.6, 0.4, 0.6)}, QUARTERS, 1024, 512, 2, 1024),
    "indirect": (hidden_lamp, {"block": (0.0, -1.0, 0.0)}, 1 / 3, 16, 1024, 3, 1024),
}


@pytest.mark.row(30)
@pytest.mark.row(104)
@pytest.mark.parametrize(
    "name", [next(iter(MOVES)), *(pytest.param(name, marks=pytest.mark.long) for name in list(MOVES)[1:])]
)
def test_moving_shadows_change_pictures_as_differences_say(f64, name):
    """Interior and edges together against differences of pictures with other random numbers."""
    build, moves, weights, samples, edge_samples, depth, many = MOVES[name]
    scene, ways = build(), list(moves.values())
    arrays = [scene[moved].position if moved == "above" else scene[moved].translation for moved in moves]

    def loss(samples=samples, **options):
        return seen(scene, weights, samples=samples, edge_samples=edge_samples, max_depth=depth, **options)

    for found, array, way in zip(slopes_of_each(loss, arrays, ways), arrays, ways, strict=True):
        expected = differences(functools.partial(loss, samples=many), array, way, 0.02)
        same_mean(found, expected)
        if name == "indirect":
            direct = slopes(functools.partial(loss, edge_depth=1), array, way)
            assert abs(direct.mean()) < 0.5 * abs(expected.mean())


@pytest.mark.row(30)
def test_a_lamp_that_moves_in_the_open_needs_no_edges(f64):
    """Its place on the film apart: a lamp's outline is in the interior of the gradient, since samples stick to it."""
    scene = shadow(0.0, 6.0)
    scene.nodes.pop("block")
    array, way = scene["lamp"].translation, (0.4, 0.7, 0.3)

    def loss(samples=16, **options):
        return seen(scene, QUARTERS, samples=samples, edge_samples=16, **options)

    inside = slopes(functools.partial(loss, edges="none"), array, way)
    together = slopes(loss, array, way)
    expected = differences(functools.partial(loss, samples=128), array, way, 0.02)
    same_mean(inside, expected)
    same_mean(together, expected)


def test_a_square_moves_into_place(f64):
    """T1: eight pixels off, it is found to a quarter of a pixel."""
    scene = shining_square(0.6, fov_y_degrees=30)
    square, size = scene["square"], 24
    pixel = 2 * 4 * np.tan(np.radians(15)) / size
    target = np.array([0.25, -0.2, 0.0])

    def drawn(**options):
        return tidr.render(scene, renderer=PathTracer(max_depth=1, **options), width=size, height=size).rgb

    square.translation.set(target)
    wanted = drawn(samples=256).numpy()
    square.translation.set(target + np.array([-0.8, 0.6, 0.0]) * 8 * pixel)
    optimizer = Adam(square.translation, lr=0.04)
    for step in range(90):
        optimizer.lr = 0.04 * 0.96**step
        with tidr.Tape() as tape:
            tape.add(tidr.losses.mse(drawn(samples=16, edges="edge_sampling", edge_samples=4, seed=step), wanted))
        optimizer.step()
    assert np.linalg.norm(square.translation.numpy()[:2] - target[:2]) < 0.25 * pixel


def test_edges_know_their_faces_and_where_radiance_may_jump():
    """A cube's twelve edges fold, its six diagonals do not; a square's rim belongs to one face."""
    f = cube().faces
    opposite = cube().topology.opposite_vertices
    none, one = np.full_like(f, -1), np.zeros(len(f), np.int32)
    rows = edge_table(f, opposite, none, none, one)
    assert len(rows) == 18
    assert (rows[:, kernels.JUMP] == kernels.CREASE).all()
    for low, high, left, right, face, _jump in rows:
        assert {low, high, left} == set(f[face])
        assert any({low, high, right} == set(other) for other in f)
    assert (edge_table(f, opposite, f, none, one)[:, kernels.JUMP] == kernels.SMOOTH).all()
    painted = edge_table(f, opposite, f, none, np.arange(len(f)) // 2)[:, kernels.JUMP]
    assert (painted == kernels.SEAM).sum() == 12
    square = np.array([[0, 1, 2], [0, 2, 3]])
    rim = edge_table(square, np.array([[-1, 3, -1], [-1, -1, 1]]), none[:2], none[:2], one[:2])
    assert len(rim) == 5
    assert (rim[:, kernels.RIGHT] == -1).sum() == 4


def few_samples() -> np.ndarray:
    """[3, 3] gradients to the places of a block, a lamp and a camera."""
    scene = shadow(0.3, 3.0)
    arrays = [scene["block"].translation, scene["lamp"].translation, scene["above"].position]
    return np.array(tape_gradients(lambda: seen(scene, QUARTERS, samples=4, edge_samples=16), arrays))


@pytest.fixture
def exact(f64) -> np.ndarray:
    return few_samples()


def test_software_vulkan_agrees_with_the_cpu(exact, vulkan):
    """The same random numbers and so the same edges: gradients differ by rounding only."""
    assert np.abs(few_samples() - exact).max() < 2e-2 * np.abs(exact).max()


@pytest.mark.parametrize(("key", "value"), [("edges", "sampling"), ("edge_samples", 0), ("edge_depth", -1)])
def test_bad_settings_are_named(key, value):
    with pytest.raises(SceneError, match=f"renderer.{key}: is"):
        PathTracer(**{key: value})


@pytest.mark.long
@pytest.mark.row(31)
@pytest.mark.parametrize(("view", "precision"), [("above", 0.025), ("beside", 0.05)])
def test_a_card_that_moves_in_fog_changes_pictures_as_differences_say(f64, view, precision):
    """Its outline on the film, or only in the light of fog and floor, through the fog; scattered up to twice."""
    scene = card_in_fog()
    scene.cameras = {view: scene.cameras[view]}
    array, way = scene["card"].translation, (1.0, 0.0, 0.0)
    sides = np.sign(np.arange(8) - 3.5)[None, :, None] / 3

    def loss(samples=1, **options):
        return seen(scene, sides, samples=samples, edge_samples=1024, max_depth=3, roulette_depth=99, **options)

    found = slopes(loss, array, way)
    expected = differences(functools.partial(loss, samples=256), array, way, 0.05)
    same_mean(found, expected, precision)
    (inside,) = tape_gradients(functools.partial(loss, edges="none"), [array])
    assert np.abs(inside @ way).max() < 1e-9
