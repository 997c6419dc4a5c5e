"""Shadows by maps: moments, where a square's shadow falls and how it moves, gradients to all that casts or receives."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr.errors import SceneError
from tidr.kernels.raster import shadow
from tidr.problems.runner import problems, solve
from tidr.renderers.shadow_maps import Bounds, aims

from .conftest import start
from .gradients import directional_check, tape_gradients, weighted

VARIANTS = ("soft", "variance", "antialias")
SLANT = np.radians(25)


@dataclass(frozen=True)
class Fine:
    """Steps so small that next to no look-up crosses from texel to texel, where its slope has a kink."""

    precision: int = 64
    rtol: float = 1e-5
    step: float = 3e-8


def plate(side: float, **mesh) -> tidr.Mesh:
    """A square around the origin in the plane y = 0, facing up."""
    corners = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 1], [1, 0, -1]]) * side / 2
    return tidr.Mesh(corners, [[0, 1, 2], [0, 2, 3]], shading="flat", **mesh)


def lone_shadow(height: float = 1.0, size: int = 64) -> tidr.Scene:
    """A square of side 0.8 that casts its shadow on a floor; the camera looks down from below it, 2.4 units wide."""
    scene = tidr.Scene(tidr.Film(size, size))
    scene.add_node("floor", tidr.Node(plate(3.2)))
    scene.add_node("square", tidr.Node(plate(0.8), (), None, (-0.2, height, 0.03), (0.995, 0, 0.1, 0)))
    scene.add_light("sun", tidr.DirectionalLight((np.tan(SLANT), -1, 0), 1.0))
    camera = tidr.Camera.look_at((0, 0.3, 0), (0, 0, 0), (0, 0, -1), height_world=2.4, width=size, height=size)
    scene.add_camera("down", camera)
    return scene


def darkness(scene: tidr.Scene, renderer) -> np.ndarray:
    """[H, W] how much less light there is than without the square, in shares."""
    found = [np.asarray(tidr.render(scene, renderer=one).rgb)[..., 0] for one in (renderer, tidr.Rasterizer())]
    return 1 - found[0] / found[1]


def lit_room(size: int = 24) -> tidr.Scene:
    """A bumpy ball above a floor under a sky, a sun, a bulb amid them (six maps), a far one (one map) and a spot."""
    rng = np.random.default_rng(7)
    scene = tidr.Scene(tidr.Film(size, size))
    vertices, faces = tidr.icosphere(1)
    ball = tidr.Mesh(0.5 * vertices * rng.uniform(0.9, 1.1, (len(vertices), 1)), faces, shading="smooth")
    scene.add_node("ball", tidr.Node(ball, (), None, (0.03, 0.7, -0.05)))
    scene.add_node("floor", tidr.Node(plate(3.0)))
    scene.add_light("sky", tidr.AmbientLight((0.5, 0.6, 0.7)))
    scene.add_light("sun", tidr.DirectionalLight((-0.43, -1, -0.31), (1.0, 0.9, 0.7)))
    scene.add_light("bulb", tidr.PointLight((0.913, 1.187, 0.271), (1.0, 1.2, 1.4)))
    scene.add_light("lamp", tidr.PointLight((3.2, 5.1, 2.3), (40, 30, 20)))
    scene.add_light("spot", tidr.SpotLight((-1.13, 2.41, 1.22), (1.2, -2.13, -1.17), (9, 9, 8), 0.4, 0.2))
    camera = tidr.Camera.look_at((0.7, 2.2, 2.9), (0, 0.3, 0), fov_y_degrees=45, width=size, height=size)
    scene.add_camera("front", camera)
    return scene


PATHS = (
    "ball.vertices", "ball.translation", "floor.vertices", "sun.direction", "bulb.position", "lamp.position",
    "spot.position", "spot.direction", "spot.intensity", "sky.radiance", "front.position",
)  # fmt: skip
WEIGHTS = np.random.default_rng(3).normal(size=(24, 24, 3))
in_f64: dict[str, list[np.ndarray]] = {}


def room_renderer(kind: str, radius: float = 0.5) -> tidr.Rasterizer:
    options = {"shadow_resolution": 48, "shadow_softness": 3, "ambient_occlusion": radius}
    return tidr.Rasterizer(edges="none", channels=("rgb",), shadows=kind, **options)


def room_check(kind: str, backend) -> None:
    """Gradients of the room's picture with ambient occlusion: against differences in f64, elsewhere against f64's."""
    scene = lit_room()
    renderer = room_renderer(kind)
    arrays = [scene.parameters(path)[path] for path in PATHS]

    def loss():
        return weighted(tidr.render(scene, renderer=renderer).rgb, WEIGHTS)

    if backend.precision == 64:
        in_f64[kind] = directional_check(loss, arrays, Fine())
        assert all(np.abs(gradient).max() > 1e-3 for gradient in in_f64[kind])
    else:
        for exact, found in zip(in_f64[kind], tape_gradients(loss, arrays), strict=True):
            assert np.linalg.norm(found - exact) <= backend.rtol * np.linalg.norm(exact)


@ti.kernel
def bounds_of_moments(values: ti.types.ndarray(), out: ti.types.ndarray()):
    for k in range(values.shape[0]):
        found = shadow.chebyshev(values[k, 0], values[k, 1], values[k, 2])
        for c in ti.static(range(4)):
            out[k, c] = found[c]


@pytest.mark.row(99)
def test_moments_bound_what_is_lit(f64):
    rng = np.random.default_rng(0)
    values = np.vstack([[1.2, 1.0, 1.01], [0.9, 1.0, 1.01], rng.uniform(0.5, 1.5, (6, 3))])
    values[2:, 2] += values[2:, 1] ** 2

    def found(at):
        out = np.zeros((len(at), 4))
        bounds_of_moments(at, out)
        return out

    middle = found(values)
    np.testing.assert_allclose(middle[:2, 0], (0.2, 1.0), rtol=1e-12)
    for c in range(3):
        step = 1e-6 * np.eye(3)[c]
        slope = (found(values + step)[:, 0] - found(values - step)[:, 0]) / 2e-6
        np.testing.assert_allclose(middle[:, 1 + c], slope, rtol=1e-6, atol=1e-8)
    flat = found(np.array([[1.0 + 1e-3, 1.0, 1.0]]))[0, 0]  # no variance at all counts as 1e-5
    assert flat == pytest.approx(1e-5 / (1e-5 + 1e-6), rel=1e-9)


@pytest.mark.row(99)
@pytest.mark.row(28)
@pytest.mark.parametrize("kind", VARIANTS)
def test_a_squares_shadow_falls_where_it_must_and_moves_with_its_height(f64, kind):
    renderer = tidr.Rasterizer(shadows=kind, shadow_resolution=256, shadow_softness=3)
    across = (np.arange(64) + 0.5) * 2.4 / 64 - 1.2
    areas, centers = [], []
    for height in (0.6, 1.0):
        scene = lone_shadow(height)
        dark = darkness(scene, renderer)
        areas.append((dark - dark.min()).sum() * (2.4 / 64) ** 2)
        centers.append((dark * across).sum() / dark.sum())
    bias = 2.5 if kind == "soft" else 0.5  # texels by which the floor counts as lifted
    lift = bias * Bounds.of(np.array([[-1.6, 0, -1.6], [1.6, 1, 1.6]])).radius / (128 - 3 - bias)
    assert dark.min() < 0.01
    np.testing.assert_allclose(areas, 0.64, rtol=0.02)
    np.testing.assert_allclose(centers, np.tan(SLANT) * (np.array([0.6, 1.0]) - lift) - 0.2, atol=0.02)
    assert (centers[1] - centers[0]) / 0.4 == pytest.approx(np.tan(SLANT), rel=0.05)
    lit = np.asarray(tidr.render(scene, renderer=tidr.Rasterizer()).rgb)
    weights = np.zeros_like(lit)
    weights[..., 0] = -(across - centers[1]) / dark.sum() / lit[..., 0]
    (slope,) = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=renderer).rgb, weights), [scene["square"].translation]
    )
    if kind == "antialias":
        assert slope[1] == pytest.approx(np.tan(SLANT), rel=0.05)
        assert slope[0] == pytest.approx(1.0, rel=0.05)
    else:  # what covers a texel has no slope there
        assert abs(slope[0]) < 0.1


@pytest.mark.row(99)
@pytest.mark.row(28)
@pytest.mark.parametrize("kind", VARIANTS)
def test_gradients_match_differences(f64, kind):
    room_check(kind, f64)


@pytest.mark.row(28)
@pytest.mark.parametrize("kind", ["none", *VARIANTS])
def test_a_ball_casts_no_shadow_on_its_lit_side(f64, kind):
    scene = tidr.Scene(tidr.Film(48, 48))
    vertices, faces = tidr.icosphere(3)
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices, faces, shading="smooth")))
    scene.add_light("sun", tidr.DirectionalLight((-0.5, -0.4, -1), 3.0))
    scene.add_light("bulb", tidr.PointLight((3, 2, 6), 60.0))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=35, width=48, height=48))
    plain = np.asarray(tidr.render(scene, renderer=tidr.Rasterizer(edges="none")).rgb)
    shown = np.asarray(tidr.render(scene, renderer=tidr.Rasterizer(edges="none", shadows=kind)).rgb)
    assert (np.abs(shown - plain) <= 0.01 * plain.max()).all()
    assert (shown == plain).all() or kind != "none"


def test_pictures_on_one_tape_do_not_mix(f64):
    scene = lit_room()
    arrays = [scene.parameters(path)[path] for path in PATHS]
    kinds = [("variance", 0.5), ("soft", 0.3), ("variance", 0.4)]

    def gradients(*kinds):
        with tidr.Tape() as tape:
            for kind, radius in kinds:
                tape.add(weighted(tidr.render(scene, renderer=room_renderer(kind, radius)).rgb, WEIGHTS))
        return [array.grad_numpy() for array in arrays]

    together, alone = gradients(*kinds), [gradients(kind) for kind in kinds]
    for k, whole in enumerate(together):
        np.testing.assert_allclose(whole, sum(each[k] for each in alone), rtol=1e-9, atol=1e-12)


def test_pictures_of_several_cameras_and_of_other_edges_know_the_shadows(f64):
    scene = lone_shadow(size=32)
    options = {"shadows": "soft", "shadow_resolution": 64}
    dark = darkness(scene, tidr.Rasterizer(**options))
    again = tidr.Camera.look_at((0.2, 0.3, 0), (0.2, 0, 0), (0, 0, -1), height_world=2.4, width=32, height=32)
    both = np.asarray(tidr.render(scene, [scene.cameras["down"], again], tidr.Rasterizer(**options)).rgb)
    alone = np.asarray(tidr.render(scene, again, tidr.Rasterizer(**options)).rgb)
    np.testing.assert_allclose(both[1], alone, atol=1e-5)
    assert dark.max() > 0.9
    assert np.abs(dark[:, 0]).max() < 0.01
    assert np.abs(both[1] - both[0]).max() > 0.2 * both.max()
    for shader in ("flat", "gouraud"):
        shown = np.asarray(tidr.render(scene, renderer=tidr.Rasterizer(shader=shader, **options)).rgb)
        assert (np.abs(shown - both[0]).max() < 1e-5) == (shader == "flat")


@pytest.mark.parametrize("kind", VARIANTS)
def test_odd_scenes_have_finite_pictures_and_gradients(f64, kind):
    renderer = tidr.Rasterizer(shadows=kind, shadow_resolution=32, shadow_softness=2)
    scene = lit_room(16)
    nothing = tidr.Scene(tidr.Film(8, 8))
    nothing.add_light("sun", tidr.DirectionalLight((0, -1, 0), 1.0))
    nothing.add_camera("front", scene.cameras["front"])
    assert (np.asarray(tidr.render(nothing, renderer=renderer, width=8, height=8).rgb) == 0).all()
    paths = ("ball.vertices", "sun.direction", "bulb.position", "spot.direction", "spot.position")
    moves = [
        {"sun.direction": (0, 1, 0), "spot.direction": (0, 1, 0)},  # from behind, and away from everything
        {"bulb.position": (0, 0.7, 0), "spot.position": (0, 0.7, 0)},  # inside the ball
        {"bulb.position": (0, 0, 0), "spot.position": (0.1, 0, 0.2)},  # on the floor
    ]
    for move in moves:
        for path, value in move.items():
            scene.parameters(path)[path].set(value)
        arrays = [scene.parameters(path)[path] for path in paths]
        picture = tidr.render(scene, renderer=renderer, width=16, height=16)
        assert np.isfinite(np.asarray(picture.rgb)).all()
        ask = functools.partial(tidr.render, scene, renderer=renderer, width=16, height=16)
        for gradient in tape_gradients(lambda ask=ask: weighted(ask().rgb, 1.0), arrays):
            assert np.isfinite(gradient).all()


def test_lights_get_the_maps_that_hold_the_scene(f64):
    bounds = Bounds.of(np.array([[-1.0, 0, -1], [1, 1, 1]]))
    assert np.linalg.norm(bounds.center - (0, 0.5, 0)) + 1.5 <= bounds.radius < 2.5
    moved = Bounds.of(np.array([[-1.0, 0, -1], [1, 1, 1]]) + 1e-5)
    assert (moved.center == bounds.center).all()
    assert moved.radius == bounds.radius
    sun, far = tidr.DirectionalLight((1, -1, 0), 1.0), tidr.PointLight((9, 0, 0), 1.0)
    near, narrow = tidr.PointLight((0.5, 0, 0), 1.0), tidr.SpotLight((0, 1, 0), (0, -1, 0), 1.0, 0.7)
    wide = tidr.SpotLight((0, 1, 0), (0, -1, 0), 1.0, 1.5)
    assert [len(aims(light, bounds)) for light in (sun, far, near, narrow, wide)] == [1, 1, 6, 1, 6]
    rng = np.random.default_rng(1)
    corners = np.stack([rng.choice((-1, 1), 50), rng.choice((0, 1), 50), rng.choice((-1, 1), 50), np.ones(50)])
    for light in (sun, far):
        (aim,) = aims(light, bounds)
        column, row, w, depth = aim.matrix(64, 4.0) @ corners
        near_end, far_end, begin, end = aim.range()
        least, most = max(near_end, begin), min(far_end, begin + end)
        for values, low, high in ((column / w, 4, 60), (row / w, 4, 60), (depth, least, most)):
            assert low <= values.min()
            assert values.max() <= high


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"shadows": "hard"}, "renderer.shadows"),
        ({"shadow_resolution": 8}, "renderer.shadow_resolution"),
        ({"shadow_softness": 0}, "renderer.shadow_resolution"),
        ({"shadow_bias": 0.0}, "renderer.shadow_bias"),
        ({"ambient_occlusion": -1.0}, "renderer.ambient_occlusion"),
        ({"ambient_occlusion": 1.0, "shader": "gouraud"}, "renderer.ambient_occlusion"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, where):
    with pytest.raises(SceneError, match=where):
        tidr.Rasterizer(**options)


@pytest.mark.long
@pytest.mark.row(99)
@pytest.mark.row(187)
@pytest.mark.row(200)
@pytest.mark.parametrize("kind", VARIANTS)
def test_the_sun_is_found_by_a_shadow(f32, kind):
    """T11: 20 degrees off at first, at most one in the end."""
    result = solve(problems(["T11-maps"])[0], kind)
    assert result.solved, result
    assert result.iterations <= 100


@pytest.mark.parametrize("kind", [pytest.param("soft", marks=pytest.mark.long), "antialias"])
def test_gradients_on_vulkan(vulkan, kind):
    if kind not in in_f64:  # where this runs alone
        start("cpu", 64)
        room_check(kind, Fine())
        start(vulkan.arch, vulkan.precision)
    room_check(kind, vulkan)
