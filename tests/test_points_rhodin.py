"""Blobs of density (Rhodin et al. 2015): closed forms, brute force and smooth occlusion."""

import math

import numpy as np
import pytest

import tidr
from tidr.renderers.points import PointRenderer
from tidr.scene.points import PointCloud

from .gradients import tape_gradients, weighted
from .point_scenes import cloud, row_of_points

BLOBS = PointRenderer(splat="rhodin")


@pytest.mark.row(11)
def test_one_blob_takes_of_a_ray_what_its_density_says(f64):
    for density, sigma, offset in ((1.0, 0.3, 0.0), (4.0, 0.2, 0.0), (4.0, 0.2, 0.25), (0.1, 0.1, 0.0)):
        through = density * sigma * math.sqrt(2 * math.pi)
        scene = row_of_points([1 - math.exp(-through)], radii=sigma, offset=offset)
        image = tidr.render(scene, renderer=BLOBS)
        expected = 1 - math.exp(-through * math.exp(-(offset**2) / (2 * sigma**2)))
        np.testing.assert_allclose(image.alpha.numpy(), expected, rtol=1e-9)
        np.testing.assert_allclose(image.depth.numpy(), 2.0, rtol=1e-9)


def brute_force(held: PointCloud, side: int, height_world: float) -> tuple[np.ndarray, np.ndarray]:
    """rgb and alpha [side, side] before black, by the published sums, of a camera at z = 2 that looks along -z."""
    positions, sigma = held.positions.numpy(), held.radii.numpy()[:, 0]
    rgb, alpha = np.zeros((side, side, 3)), np.zeros((side, side))
    erf = np.vectorize(math.erf)
    for row, column in np.ndindex(side, side):
        place = np.array([column + 0.5 - side / 2, side / 2 - row - 0.5]) * height_world / side
        across = place - positions[:, :2]
        density = -np.log(1 - held.opacities.numpy()[:, 0]) / (sigma * math.sqrt(2 * math.pi))
        density = density * np.exp(-(across**2).sum(1) / (2 * sigma**2))
        mean, wide = 2 - positions[:, 2], math.sqrt(2) * sigma

        def through(s, density=density, mean=mean, wide=wide):
            parts = density * sigma * math.sqrt(math.pi / 2) * (erf((s - mean) / wide) + erf(mean / wide))
            return math.exp(-parts.sum())

        for q in range(len(sigma)):
            samples = [through(mean[q] + k * sigma[q]) * math.exp(-k * k / 2) for k in range(-4, 1)]
            rgb[row, column] += sigma[q] * density[q] * sum(samples) * held.colors.numpy()[q]
        alpha[row, column] = 1 - through(1e3)
    return rgb, alpha


@pytest.mark.row(11)
def test_many_blobs_equal_brute_force(f64):
    held, scene = cloud(1, 5), tidr.Scene(tidr.Film(6, 6))
    scene.add_node("blobs", tidr.Node(held))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1.5, width=6, height=6))
    rgb, alpha = brute_force(held, 6, 1.5)
    image = tidr.render(scene, renderer=BLOBS)
    np.testing.assert_allclose(image.rgb.numpy(), rgb, atol=1e-7)
    np.testing.assert_allclose(image.alpha.numpy()[..., 0], alpha, atol=1e-7)


@pytest.mark.row(11)
def test_two_blobs_that_pass_each_other_swap_smoothly(f64):
    scene = row_of_points([0.95, 0.95], radii=0.2)
    positions, places = scene["row"].geometry.positions, np.linspace(-1.2, 1.2, 41)
    shares, slopes = [], []
    for place in places:
        positions.set([[0, 0, place], [0, 0, 0]])
        with tidr.Tape() as tape:
            tape.add(weighted(tidr.render(scene, renderer=BLOBS).rgb, (1, 0, 0)))
        shares.append(tape.loss)
        slopes.append(positions.grad_numpy()[0, 2])
    assert shares[0] < 0.1
    assert shares[-1] > 0.85
    assert np.diff(shares).min() > -1e-12
    # The slope itself has no jump, and is that of the shares.
    assert np.abs(np.diff(slopes)).max() < 0.35 * max(slopes)
    np.testing.assert_allclose(np.gradient(shares, places)[1:-1], slopes[1:-1], atol=0.03 * max(slopes))


def test_opaque_hidden_and_surrounding_blobs(f64):
    opaque = row_of_points([1.0], radii=0.2)
    held = opaque["row"].geometry
    (gradient,) = tape_gradients(lambda: weighted(tidr.render(opaque, renderer=BLOBS).alpha, 1.0), [held.opacities])
    assert not gradient.any()
    for place, expected in ((0.0, 0.99), (1.99, 1 - 0.01 ** (0.5 + 0.5 * math.erf(0.05 / math.sqrt(2)))), (2.5, 0.0)):
        held.positions.set([[0, 0, place]])
        alpha = tidr.render(opaque, renderer=BLOBS).alpha.numpy()
        np.testing.assert_allclose(alpha, expected, rtol=1e-9)
    with pytest.raises(tidr.SceneError, match=r"nodes\.row\.points: has no radii"):
        tidr.render(row_of_points([0.5]), renderer=BLOBS)
