"""Warped-area sampling: what moving outlines and shadows change in the path tracer's pictures."""

import functools

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr.errors import SceneError
from tidr.kernels.path import warp_film
from tidr.kernels.transport import sensor
from tidr.renderers.path import PathTracer

from .conftest import start
from .gradients import tape_gradients, weighted
from .test_path_edges import differences, same_mean, slopes, slopes_of_each, spread
from .warp_scenes import blocked_sky, shining_square, under_lamp, under_plate

KAPPA = 1e3  # little noise: see PathTracer
RAMP = (np.arange(8.0)[:, None] - 3.5) / 3  # by column, for the mean of the channels


def seen(scene: tidr.Scene, weights, size=None, **options):
    """A weighted sum of the picture's channels."""
    options = {"max_depth": 2, "edges": "warped_area", "warp_kappa": KAPPA, **options}
    return weighted(tidr.render(scene, renderer=PathTracer(**options), width=size, height=size).rgb, weights)


@pytest.mark.row(33)
def test_the_picture_is_the_same_bit_for_bit(f64):
    scene = under_lamp()
    plain, warped = (
        np.asarray(tidr.render(scene, renderer=PathTracer(max_depth=2, samples=4, edges=edges)).rgb)
        for edges in ("none", "warped_area")
    )
    assert np.array_equal(plain, warped)
    assert plain.std() > 0.01


@pytest.mark.long
@pytest.mark.row(33)
def test_a_disc_that_hides_the_sky_changes_irradiance_as_the_closed_form_says(f64):
    """E = pi h^2 / (r^2 + h^2); nothing but the outline changes it. Few rays fall short by a few percent."""
    scene = blocked_sky(radius=1.0, height=1.0)
    disc, floor = scene["disc"], scene["floor"]
    outward = (disc.vertices.numpy().astype(np.float64) - (0, 1, 0)) * (1, 0, 1)
    loss = functools.partial(seen, scene, np.pi / 3 / 64, 8, samples=96)
    arrays, ways = [disc.vertices, floor.translation], [outward, np.array([0.0, 1.0, 0.0])]
    few = slopes(functools.partial(loss, warp_rays=16), disc.vertices, outward) / (-np.pi / 2)
    many, by_floor = slopes_of_each(functools.partial(loss, warp_rays=64), arrays, ways) / (-np.pi / 2)
    for found, bias in ((few, 0.1), (many, 0.03), (by_floor, 0.03)):
        assert -bias - 3 * spread(found) < found.mean() - 1 < 3 * spread(found)
        assert spread(found) < 0.025
    for inside, way in zip(tape_gradients(functools.partial(loss, edges="none"), arrays), ways, strict=True):
        assert abs((inside * way).sum()) < 1e-9
    assert few.mean() < many.mean()


@pytest.mark.row(33)
@pytest.mark.parametrize("kind", ["pinhole", "orthographic"])
def test_a_shining_square_grows_on_the_film_as_its_area_does(f64, kind):
    """The picture's sum is the square's area in pixels; all of its derivative stands on the outline."""
    half, distance = 0.5, 4.0
    scene = shining_square(half, **({"height_world": 2.0} if kind == "orthographic" else {}))
    square, view = scene["square"], scene["front"]
    focal = view.focal.numpy()[0].astype(np.float64)
    near = 1.0 if kind == "orthographic" else 1 / distance
    area = (2 * half * focal * near) ** 2
    outward = np.sign(square.vertices.numpy()) * (1, 1, 0)
    loss = functools.partial(seen, scene, 1 / 3, samples=128, warp_rays=64)
    by_half, by_place, by_camera, by_focal = tape_gradients(
        loss, [square.vertices, square.translation, view.position, view.focal]
    )
    assert (by_half * outward).sum() == pytest.approx(2 * area / half, rel=0.03)
    assert by_focal.sum() == pytest.approx(2 * area / focal, rel=0.03)
    expected = 0.0 if kind == "orthographic" else 2 * area / distance
    assert by_place[2] == pytest.approx(expected, rel=0.03, abs=1e-9)
    assert by_camera[2] == pytest.approx(-expected, rel=0.03, abs=1e-9)
    assert abs(by_place[0]) < 0.03 * area / half


@pytest.mark.row(33)
def test_a_shadow_in_the_sun_moves_with_what_throws_it_and_with_the_sun(f64):
    """The shadow is as wide as four pixels, so that a ramp across the picture sees each step of it alike."""
    scene = under_plate(sun=np.pi, diameter_degrees=16.0, length=5.0)
    expected = -4.0 * 4 * 8  # 4 x 8 pixels of light that is missing, each of 1; a unit is four pixels
    loss = functools.partial(seen, scene, RAMP, samples=100, warp_rays=64)
    arrays = [scene["plate"].translation, scene["sun"].direction]  # the plate is one unit above the floor
    for found in slopes_of_each(loss, arrays, [np.array([1.0, 0, 0])] * 2):
        same_mean(found, expected)


@pytest.mark.row(33)
def test_the_shadow_of_a_lamp_moves_as_differences_say(f64):
    scene, way = under_lamp(), np.array([1.0, 0, 0])
    loss = functools.partial(seen, scene, RAMP, warp_rays=64, warp_kappa=1e4)
    array = scene["plate"].translation
    found, expected = functools.partial(loss, samples=600), functools.partial(loss, samples=256)
    same_mean(slopes(found, array, way), differences(expected, array, way, 0.05))


@pytest.mark.row(33)
def test_a_scene_that_moves_with_its_camera_looks_the_same(f64):
    """Whatever rays are drawn, V is zero then in the camera's frame: all gradients to places cancel."""
    scene = under_lamp()
    loss = functools.partial(seen, scene, np.random.default_rng(5).uniform(-1, 1, (8, 8, 3)), samples=4)
    arrays = [scene[name].translation for name in ("floor", "plate", "lamp", "cellar")] + [scene["under"].position]
    found = tape_gradients(loss, arrays)
    largest = max(np.abs(gradient).max() for gradient in found)
    assert largest > 1
    assert np.abs(sum(found)).max() < 1e-9 * largest


@pytest.mark.row(33)
@pytest.mark.row(187)
@pytest.mark.row(200)
def test_the_sun_is_found_by_a_shadow_alone(f64):
    """T11: 20 degrees off at first, at most one in the end."""
    true, tilt = np.array([0.25, -1.0, 0.1]), np.radians(20)
    scene = under_plate(sun=3.0, direction=true, diameter_degrees=8.0)
    sun = scene["sun"]
    true = sun.direction.numpy().astype(np.float64)
    target = np.asarray(tidr.render(scene, renderer=PathTracer(max_depth=2, samples=1024, seed=99)).rgb)
    across = np.cross(true, (0.3, 0.2, 1.0))
    sun.direction.set(np.cos(tilt) * true + np.sin(tilt) * across / np.linalg.norm(across))

    def off() -> float:
        now = sun.direction.numpy().astype(np.float64)
        return float(np.degrees(np.arccos(np.clip(now @ true / np.linalg.norm(now), -1, 1))))

    assert off() == pytest.approx(20, abs=0.01)
    rates = np.geomspace(4e-2, 4e-3, 50)
    optimizer = tidr.Adam(sun.direction, lr=rates[0])
    for step, rate in enumerate(rates):
        optimizer.lr = rate
        with tidr.Tape() as tape:
            options = {"samples": 32, "seed": step, "edges": "warped_area", "warp_kappa": KAPPA}
            image = tidr.render(scene, renderer=PathTracer(max_depth=2, **options))
            tape.add(tidr.losses.mse(image.rgb, target))
        optimizer.step()
    assert off() <= 1.0


@ti.kernel
def slope_of_filters(
    film: ti.template(), grad: ti.types.ndarray(), points: ti.types.ndarray(), width: ti.i32, height: ti.i32,
    out: ti.types.ndarray(),
):  # fmt: skip
    for k in range(points.shape[0]):
        found = warp_film.filter_slope(film, grad, 0, width, height, points[k, 0], points[k, 1])
        out[k, 0], out[k, 1] = found[0, 0], found[0, 1]


@pytest.mark.row(33)
@pytest.mark.parametrize("film", [sensor.TENT, sensor.GAUSSIAN])
def test_pixels_share_light_that_wanders_by_their_filters_slopes(f64, film):
    """Against differences of what the pixels' filters make of their gradients, by how densely film points lie."""
    rng, (width, height), step = np.random.default_rng(film), (4, 3), 1e-6
    grad, points = rng.uniform(-1, 1, (width * height, 3)), rng.uniform(0.6, 2.4, (20, 2))
    out = np.zeros((20, 2))
    slope_of_filters(film, grad, points, width, height, out)

    def filters(at):
        off = np.abs(at[:, None] - (np.stack(np.meshgrid(np.arange(4), np.arange(3)), -1).reshape(-1, 2) + 0.5))
        if film == sensor.TENT:
            return np.maximum(1 - off, 0).prod(-1)
        squared = (off**2).sum(-1) / sensor.SIGMA**2
        return np.where(squared < 16, np.exp(-squared / 2) / (2 * np.pi * sensor.SIGMA**2 * (1 - sensor.CUT)), 0)

    for axis in range(2):
        shift = step * np.eye(2)[axis]
        expected = (filters(points + shift) - filters(points - shift)) @ grad[:, 0] / (2 * step)
        assert np.allclose(out[:, axis], expected / filters(points).sum(1), rtol=1e-5, atol=1e-6)


def test_a_wrong_choice_meets_one_error():
    with pytest.raises(SceneError, match="warped_area"):
        PathTracer(edges="warped")
    with pytest.raises(SceneError, match=r"renderer\.warp_rays"):
        PathTracer(warp_rays=1)


def gradients(max_depth: int) -> list[np.ndarray]:
    """Of a shining square's outline, and from depth 2 on of a shadow in the sun; equal random numbers everywhere."""
    found, cases = [], [(shining_square(), ("square.vertices", "front.position"))]
    if max_depth > 1:
        cases.append((under_plate(sun=3.0, diameter_degrees=8.0), ("plate.vertices", "sun.direction")))
    for scene, names in cases:
        ramp = np.linspace(-1, 1, 192).reshape(8, 8, 3)
        loss = functools.partial(seen, scene, ramp, 8, samples=8, seed=3, max_depth=max_depth)
        found += tape_gradients(loss, list(scene.parameters(*names).values()))
    return found


@pytest.mark.long
@pytest.mark.row(33)
@pytest.mark.parametrize(("arch", "max_depth"), [("vulkan", 1), ("cpu", 2)])
def test_single_precision_gives_the_same_gradients(f64, vulkan, arch, max_depth):
    """On Vulkan what is seen directly: for shadows a software driver compiles for minutes."""
    start("cpu", 64)
    exact = gradients(max_depth)
    start(arch, 32)
    for right, rounded in zip(exact, gradients(max_depth), strict=True):
        assert np.abs(rounded - right).max() < 2e-2 * np.abs(right).max()
