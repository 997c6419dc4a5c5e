"""Rasterize-then-splat: what it keeps of a picture, closed forms at edges and between layers, and gradients."""

import math
from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.parameter import Parameter
from tidr.problems.runner import problems, solve
from tidr.renderers.edges_splat import SplatFrame, places, splatted
from tidr.renderers.raster import frame_of

from .gradients import directional_check, tape_gradients, weighted
from .test_raster_antialias import SIDE, flat_scene, rectangle
from .test_raster_soft import small_scene

BESIDE = math.exp(-2)  # the Gaussian of variance 1/4 a pixel away
INSIDE, OUTSIDE = (1.05 * share / (1 + 2 * BESIDE) for share in (1 + BESIDE, BESIDE))


def splat(layers=None, **options) -> tidr.Rasterizer:
    return tidr.Rasterizer(edges="splat", faces_per_pixel=layers, **options)


def test_even_surfaces_stay_and_an_edge_spreads_over_two_pixels(f64):
    scene = flat_scene(*rectangle(-90, 6.3, -90, 90), background=(0.2, 0.4, 0.6))
    image = tidr.render(scene, renderer=splat())
    expected = np.concatenate([np.ones(5), [INSIDE, OUTSIDE], np.zeros(9)])[None, :, None] * np.ones((SIDE, 1, 1))
    np.testing.assert_allclose(image.alpha.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(image.rgb.numpy(), expected + (1 - expected) * (0.2, 0.4, 0.6), atol=1e-12)


def test_an_edge_that_moves_is_felt_by_its_two_columns(f64):
    scene = flat_scene(*rectangle(-90, 6.3, -90, 90))
    (gradient,) = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=splat(channels=("alpha",))).alpha, 1.0),
        [scene["shape"].translation],
    )
    # True is one for each row; 1.05 * 4 exp(-2) / (1 + 2 exp(-2)) in either column.
    np.testing.assert_allclose(gradient, (SIDE * 8 * OUTSIDE, 0, 0), atol=1e-9)


def test_a_colour_goes_along_with_its_triangle(f64):
    vertices, faces = rectangle(-90, 90, -90, 90)
    ramp = 0.01 * np.array(vertices)[:, :1]
    scene = flat_scene(vertices, faces, attributes={"paint": ramp})
    weights = np.zeros((SIDE, SIDE, 1))
    weights[8, 7] = 1.0
    found = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=splat(channels=())).channel("paint"), weights),
        [scene["shape"].translation, scene["shape"].mesh.attributes["paint"]],
    )
    # The mean of three columns' values under weights e, 1, e; it falls by 4 * 2 e / (1 + 2 e) of the slope a pixel.
    np.testing.assert_allclose(found[0][0], -0.01 * 8 * BESIDE / (1 + 2 * BESIDE), rtol=1e-9)
    np.testing.assert_allclose(found[1].sum(), 1.0, rtol=1e-9)


@pytest.mark.parametrize(("layers", "edge"), [(1, (INSIDE / 1.05, OUTSIDE / 1.05)), (2, (INSIDE, OUTSIDE))])
def test_a_square_before_another_is_blended_as_a_layer(f64, layers, edge):
    # White over black that goes on behind it; one layer takes the mean of all splats, two lay one over the other.
    corners = np.concatenate([np.pad(rectangle(-90, right, -90, 90)[0], ((0, 0), (0, 1))) for right in (6.3, 90)])
    corners[:4, 2] = 1.0
    faces = rectangle(0, 1, 0, 1)[1]
    paint = np.repeat([[1.0], [0.0]], 4, 0)
    scene = flat_scene(corners, faces + [[a + 4, b + 4, c + 4] for a, b, c in faces], attributes={"paint": paint})
    image = tidr.render(scene, renderer=splat(layers, channels=()))
    np.testing.assert_allclose(image.alpha.numpy(), 1.0, rtol=1e-12)
    expected = np.concatenate([np.ones(5), edge, np.zeros(9)])[None, :, None] * np.ones((SIDE, 1, 1))
    np.testing.assert_allclose(image.channel("paint").numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_of_places_and_values(f64, layers):
    scene, rng = small_scene(0), np.random.default_rng(0)
    cameras = [scene["front"], small_scene(1, orthographic=True)["front"]]
    frame = frame_of(splat(layers), scene, cameras, 20, 26)
    assert isinstance(frame, SplatFrame)
    entries, bary = frame.entries, frame.bary
    where, screen = Parameter(frame.places.numpy()), Parameter(entries.screen.numpy())
    values = Parameter(rng.uniform(size=(entries.capacity, 3)))
    weights, moves = rng.normal(size=(2, 26, 20, 3)), rng.normal(size=(entries.capacity, 2))
    moves[entries.count :] = 0.0
    directional_check(lambda: weighted(splatted(frame, values, where, (0.2, 0.5, 0.9)), weights), [where, values], f64)
    moved = replace(entries, screen=screen)
    directional_check(lambda: weighted(places(moved, bary), moves), [screen], f64)
    place = entries.place.ndarray.to_numpy().reshape(-1, 3)[: entries.count]
    np.testing.assert_allclose(where.numpy()[: entries.count], place[:, :0:-1] + 0.5, atol=1e-9)


def test_colours_and_lights_have_exact_gradients(f64):
    scene = small_scene(0)
    weights = np.random.default_rng(0).normal(size=(26, 20, 3))
    arrays = [scene["soup"].mesh.colors, scene.lights["sky"].radiance]
    directional_check(lambda: weighted(tidr.render(scene, renderer=splat(2)).rgb, weights), arrays, f64)


def test_an_environment_shows_behind_what_alpha_leaves(f64):
    scene = small_scene(0)
    scene.materials["paint"] = tidr.Material("lambert", albedo=0.0)
    scene.add_light("far", tidr.EnvironmentLight((0.3, 0.6, 0.9)))
    image = tidr.render(scene, renderer=splat())
    np.testing.assert_allclose(image.rgb.numpy(), (1 - image.alpha.numpy()) * (0.3, 0.6, 0.9), atol=1e-12)


def batches() -> dict[str, list[np.ndarray]]:
    """Of two views, by this treatment and, for its alpha, by "dibr"."""
    scene = small_scene(2)
    cameras = [scene["front"], small_scene(2, orthographic=True)["front"]]
    weights, mesh = np.random.default_rng(0).normal(size=(2, 26, 20, 3)), scene["soup"].mesh
    dibr = tidr.Rasterizer(edges="dibr", channels=(), sigma=1e-3, blur_radius=0.04)
    drawn = {"splat": (splat(2, channels=()), "paint"), "dibr": (dibr, "alpha")}

    def loss(renderer, channel):
        found = tidr.render(scene, cameras, renderer).channel(channel)
        return weighted(found, weights[..., : found.channels])

    arrays = [mesh.vertices, mesh.attributes["paint"]]
    found = {name: tape_gradients(lambda each=each: loss(*each), arrays) for name, each in drawn.items()}
    return found | {"dibr": found["dibr"][:1]}


@pytest.fixture
def in_64_bits(f64) -> dict[str, list[np.ndarray]]:
    return batches()


@pytest.mark.row(15)
def test_vulkan_has_the_gradients_of_64_bits(in_64_bits, vulkan):
    for name, gradients in batches().items():
        for found, exact in zip(gradients, in_64_bits[name], strict=True):
            assert np.linalg.norm(found - exact) <= 2e-2 * np.linalg.norm(exact), name


@pytest.mark.long
@pytest.mark.row(10, 15)
@pytest.mark.parametrize(("treatment", "verdict"), [("genova", "known"), ("dibr", "solved"), ("splat", "solved")])
def test_the_place_of_a_disc(f32, treatment, verdict):
    assert solve(problems(["T1"])[0], treatment).verdict == verdict
