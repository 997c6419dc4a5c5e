"""What gradients of photon mapping lack, measured: photons that move across the silhouette of a lens."""

import numpy as np
import pytest

import tidr
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.mesh import Mesh

from .gradients import tape_gradients, weighted
from .photon_stage import stage

SIZE, EYE, FOV_Y_DEGREES = 48, np.array([0.0, 0.75, 2.0]), 48.0
ABOVE, BELOW, CURVATURE, RIM, IOR = 1.5, 1.0, 0.75, 0.3, 1.5  # distances of light and floor, the lens' front


def lens(rings=24, spokes=64) -> Mesh:
    """Plano-convex, its rounded side up and its flat one at y = 0; the two have vertices of their own at the rim."""
    radius = RIM * np.sqrt((np.arange(rings) + 1) / rings)
    turn = 2 * np.pi * np.arange(spokes) / spokes
    around = np.stack([np.cos(turn), 0 * turn, np.sin(turn)], 1)
    top = CURVATURE - np.sqrt(CURVATURE**2 - RIM**2)
    heights = top - CURVATURE + np.sqrt(CURVATURE**2 - radius**2)
    cap = (radius[:, None, None] * around + heights[:, None, None] * [0, 1, 0]).reshape(-1, 3)
    k, j = np.arange(spokes), (np.arange(spokes) + 1) % spokes
    faces = [np.stack([np.zeros_like(k), 1 + j, 1 + k], 1)]
    for ring in range(rings - 1):
        a, b = 1 + ring * spokes, 1 + (ring + 1) * spokes
        faces += [np.stack([a + k, a + j, b + k], 1), np.stack([a + j, b + j, b + k], 1)]
    flat = 1 + len(cap)
    faces.append(np.stack([np.full_like(k, flat), flat + 1 + k, flat + 1 + j], 1))
    vertices = np.concatenate([[[0, top, 0]], cap, [[0, 0, 0]], RIM * around])
    return Mesh(vertices, np.concatenate(faces), shading="smooth")


def burning_glass(hole=0.0) -> tidr.Scene:
    """A bulb, a lens that makes its light parallel, and a floor; hole: half the side of that in a black plate."""
    scene = stage(bulb=3.0, ior=IOR, ball=(0.0, BELOW, 0.0), radius=1.0)
    for name in ("wall", "mirror", "panel"):
        scene.nodes[name].translation.set([0.0, -80.0, 0.0])
    scene.nodes["floor"].geometry.vertices.set([[-6, 0, -6], [-6, 0, 6], [6, 0, 6], [6, 0, -6]])
    scene.lights["bulb"].position.set([0.0, BELOW + ABOVE, 0.0])
    scene.nodes["ball"].geometry = lens()
    if hole:
        corners = np.array([[-1, 0.1, -1], [1, 0.1, -1], [1, 0.1, 1], [-1, 0.1, 1]])
        rings = np.concatenate([corners * [hole, 1, hole], corners * [6, 1, 6]])
        k, j = np.arange(4), (np.arange(4) + 1) % 4
        faces = np.concatenate([np.stack([k, 4 + k, j], 1), np.stack([j, 4 + k, 4 + j], 1)])
        scene.nodes["wall"].geometry = Mesh(rings + np.array([0, BELOW, 0]), faces, shading="flat")
        scene.nodes["wall"].translation.set(np.zeros(3))
        scene.materials["red"].sources["albedo"].set(np.zeros(3))
    return scene


def moments() -> np.ndarray:
    """[SIZE, SIZE, 1] x dA of what each pixel sees of the floor."""
    forward = -EYE / np.linalg.norm(EYE)
    up = np.cross([1, 0, 0], forward)
    span = np.tan(np.radians(FOV_Y_DEGREES) / 2) * np.linspace(-1, 1, SIZE + 1)
    x, y = np.meshgrid(span, -span)
    d = x[..., None] * [1, 0, 0] + y[..., None] * up + forward
    at = EYE - d * (EYE[1] / d[..., 1:2])
    one, other = at[1:, 1:] - at[:-1, :-1], at[1:, :-1] - at[:-1, 1:]
    area = 0.5 * np.abs(np.cross(one, other)[..., 1])
    middle = 0.25 * (at[1:, 1:] + at[:-1, :-1] + at[1:, :-1] + at[:-1, 1:])[..., 0]
    return (middle * area)[..., None]


def measure(scene, seeds, h) -> tuple[np.ndarray, np.ndarray]:
    """(gradients, differences) [seeds] of the moment of the floor's light by the place of the lens along x."""
    view = Camera.look_at(EYE, [0, 0, 0], fov_y_degrees=FOV_Y_DEGREES)
    weights, place, found = moments(), scene.nodes["ball"].translation, []
    start, step = place.numpy(), np.array([h, 0, 0])

    def seen(seed):
        mapper = PhotonMapper(photons=10_000, passes=6, radius=0.06, aimed=0.9, max_depth=8, seed=seed)
        return weighted(tidr.render(scene, camera=view, renderer=mapper, width=SIZE, height=SIZE).rgb, weights)

    for seed in range(seeds):
        (slope,) = tape_gradients(lambda seed=seed: seen(seed), [place])
        ends = []
        for side in (1, -1):
            place.set(start + side * step)
            ends.append(float(seen(100 + seed)))
        place.set(start)
        found.append((slope[0], (ends[0] - ends[1]) / (2 * h)))
    return np.array(found).T


@pytest.mark.long
@pytest.mark.row(54)
def test_with_the_beam_filled_the_gradient_to_a_lens_is_that_of_differences(f64):
    gradients, differences = measure(burning_glass(hole=0.15), 12, 0.02)
    error = np.hypot(gradients.std(ddof=1), differences.std(ddof=1)) / 12**0.5
    assert abs(gradients.mean() - differences.mean()) < 3.3 * error
    assert 3.3 * error < 0.15 * abs(differences.mean())


@pytest.mark.long
@pytest.mark.row(54)
def test_a_silhouette_within_the_beam_is_missing_from_the_gradient(f64):
    """The difference is as large as the gradient, and opposite.

    Photons in the lens, their directions fixed, move by its way times BELOW / focal length: that is the gradient. But
    the lens takes from the floor a shadow around the light's way by its middle, and gives back around the same way all
    but what its two faces reflect; and that way moves with it by 1 + BELOW / ABOVE.
    """
    gradients, differences = measure(burning_glass(), 6, 0.02)
    focal, let_through = CURVATURE / (IOR - 1), (1 - ((IOR - 1) / (IOR + 1)) ** 2) ** 2
    expected = -(1 - let_through) * (1 + BELOW / ABOVE) / (let_through * BELOW / focal)
    assert -0.25 < expected < -0.15
    assert differences.mean() / gradients.mean() == pytest.approx(expected, abs=0.12)
    assert gradients.std(ddof=1) < 0.2 * gradients.mean()
