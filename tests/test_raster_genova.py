"""Genova's gradients: hard pictures, exact inside, planes continued by a pixel outside, blind to plain silhouettes."""

import numpy as np
import pytest

import tidr

from .gradients import tape_gradients, weighted
from .test_raster_antialias import SIDE, flat_scene, grown, rectangle
from .test_raster_soft import small_scene

PLAIN, GENOVA = (tidr.Rasterizer(edges=edges, channels=()) for edges in ("none", "genova"))


def gradients(scene, renderer, weights, channel="paint", cameras=None) -> list[np.ndarray]:
    """Of every vertex and value of a scene's one mesh, for a weighted sum of the picture."""
    mesh = next(iter(scene.nodes.values())).mesh
    arrays = [mesh.vertices, *mesh.attributes.values()]
    return tape_gradients(lambda: weighted(tidr.render(scene, cameras, renderer).channel(channel), weights), arrays)


def ramp(left: float, right: float, slope=(0.3, -0.2)) -> tidr.Scene:
    """A rectangle, one unit a pixel, that is as high as wide; its value rises evenly over the picture."""
    vertices, faces = rectangle(left, right, left, right)
    return flat_scene(vertices, faces, attributes={"paint": np.asarray(vertices) @ np.array(slope)[:, None]})


def only(row: int, column: int) -> np.ndarray:
    weights = np.zeros((SIDE, SIDE, 1))
    weights[row, column] = 1.0
    return weights


def check_ramp(atol: float) -> None:
    scene = ramp(4.2, 10.3)
    for column, felt in ((9, True), (10, True), (11, False), (3, True), (2, False)):
        vertices, values = gradients(scene, GENOVA, only(8, column))
        # All corners together move the ramp on: by one to the right, and it is lower by its slope.
        np.testing.assert_allclose(vertices.sum(0), (-0.3 * felt, 0.2 * felt, 0), atol=atol)
        np.testing.assert_allclose(values.sum(), 1.0 * felt, atol=atol)
        # Barycentrics below 0 outside: some corner's value counts against the picture's.
        assert (values.min() < -1e-3) == (felt and column != 9)
        assert not gradients(scene, PLAIN, only(8, column))[0].any() or column == 9


@pytest.mark.row(10)
def test_a_pixel_beside_a_ramp_feels_its_slope(f64):
    check_ramp(1e-12)


@pytest.mark.long
@pytest.mark.row(10)
def test_and_so_on_vulkan(vulkan):
    check_ramp(1e-4)


@pytest.mark.row(10)
def test_the_picture_is_hard_and_its_gradient_exact_inside(f64):
    scene = small_scene(0)
    images = [tidr.render(scene, renderer=renderer) for renderer in (PLAIN, GENOVA)]
    for channel in ("rgb", "alpha", "depth"):
        np.testing.assert_array_equal(*(image.channel(channel).numpy() for image in images))
    covered = images[0].ids >= 0
    inside = np.random.default_rng(0).normal(size=(26, 20, 3)) * covered[..., None]
    for found, exact in zip(*(gradients(scene, renderer, inside) for renderer in (GENOVA, PLAIN)), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)
    around = (grown(covered) & ~covered)[..., None] * 1.0
    assert gradients(scene, GENOVA, around)[1].any()
    assert not gradients(scene, GENOVA, ~grown(covered)[..., None] * 1.0)[1].any()


@pytest.mark.row(10)
def test_known_failure_a_plain_silhouette_that_moves_is_not_felt(f64):
    scene = ramp(4.2, 10.3, slope=(0.0, 0.0))
    scene["shape"].mesh.attributes["paint"].set(np.full((4, 1), 0.7))
    off = tidr.render(ramp(6.2, 12.3), renderer=PLAIN).alpha.numpy() - 0.5
    assert np.abs(gradients(scene, GENOVA, off)[0]).max() < 1e-12
    assert not gradients(scene, GENOVA, off, "alpha")[0].any()


def test_slivers_are_not_continued_beyond_their_own_size(f64):
    scene = ramp(4.2, 10.3)
    for width, felt in ((0.05, False), (0.9, True)):
        scene["shape"].mesh.vertices.set([[8.49, 4, 0], [8.49 + width, 4, 0], [8.49 + width, 12, 0], [8.49, 12, 0]])
        vertices, values = gradients(scene, GENOVA, only(8, 9))
        assert np.isfinite(vertices).all()
        assert values.any() == felt
        assert gradients(scene, GENOVA, only(8, 8))[1].any()


def test_a_batch_has_the_gradients_of_its_views(f64):
    scene, weights = small_scene(3), np.random.default_rng(1).normal(size=(2, 26, 20, 3))
    cameras = [scene["front"], small_scene(3, orthographic=True)["front"]]
    both = gradients(scene, GENOVA, weights, cameras=cameras)
    alone = [gradients(scene, GENOVA, one, cameras=camera) for one, camera in zip(weights, cameras, strict=True)]
    for together, first, second in zip(both, *alone, strict=True):
        np.testing.assert_allclose(together, first + second, rtol=1e-9, atol=1e-9)
