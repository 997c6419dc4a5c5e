"""Antithetic pairs of paths: without bias, and derivatives of glossy lobes without most of their noise."""

import numpy as np
import pytest

import tidr
from tests.antithetic_kernels import draw_pairs, turn_pairs
from tests.gradients import tape_gradients, weighted
from tests.path_scenes import quad
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.kernels.transport import slots
from tidr.renderers.path import PathTracer
from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import EnvironmentLight
from tidr.scene.material import Material
from tidr.scene.volume import Volume

KINDS = ("LAMBERT", "BLINN_PHONG", "METALLIC_ROUGHNESS", "ROUGH_CONDUCTOR", "ROUGH_DIELECTRIC")


@pytest.mark.row(38)
def test_both_of_a_pair_are_drawn_from_the_same_lobe(f64):
    """Seen from the side, where mirrored normals are not seen as well as those that they mirror."""
    pairs, out = 1 << 15, Buffer((1 << 15, 8))
    for name in KINDS:
        kind = getattr(slots, name)
        draw_pairs(sum(1 << getattr(slots, each) for each in KINDS), kind, 0.6, 1.1, pairs, out.ndarray)
        ones, others = np.split(out.ndarray.to_numpy(), 2, axis=1)
        apart = ones - others
        error = apart.std(0, ddof=1) / np.sqrt(pairs)
        assert (np.abs(apart.mean(0)) < 4.0 * error + 1e-12).all(), name
        assert np.abs(apart).max() > 0.1, name


@pytest.mark.row(38)
def test_pairs_know_that_a_symmetrical_lobe_does_not_change_as_it_turns(f64):
    out = Buffer((4096, 2))
    turn_pairs(1 << slots.ROUGH_CONDUCTOR, slots.ROUGH_CONDUCTOR, np.sqrt(0.05), 4096, out.ndarray)
    slopes = out.ndarray.to_numpy()
    assert slopes.std() > 1.0
    assert np.abs(slopes.sum(1)).max() < 1e-9 * slopes.std()


def board() -> Scene:
    """A metal board of GGX width 0.05 in smooth surroundings."""
    scene = Scene(Film(6, 6))
    rows, columns = np.mgrid[:16, :32]
    sky = 1.0 + 0.25 * np.cos(2 * np.pi * columns / 32) + 0.2 * np.sin(np.pi * (rows + 0.5) / 16 + columns / 5)
    scene.add_light("sky", EnvironmentLight(np.repeat(sky[..., None], 3, 2)))
    metal = {"eta": [0.2, 0.9, 1.1], "k": [3.9, 2.4, 2.2], "roughness": np.sqrt(0.05)}
    scene.add_material("metal", Material("conductor", **metal))
    scene.add_node("board", Node(quad(half=3.0), ("metal",)))
    scene.add_camera("eye", Camera.look_at((0.3, 2.0, 1.5), (0, 0, 0), fov_y_degrees=20, width=6, height=6))
    return scene


@pytest.mark.long
@pytest.mark.row(38)
def test_derivatives_of_a_moving_highlight_lose_nine_tenths_of_their_variance(f32):
    scene = board()
    rotation = scene["board"].rotation

    def slopes(antithetic):
        found = []
        for seed in range(40):
            tracer = PathTracer(samples=8, max_depth=2, antithetic=antithetic, seed=seed)

            def seen(tracer=tracer):
                return weighted(tidr.render(scene, renderer=tracer).rgb, 1 / 108)

            (gradient,) = tape_gradients(seen, [rotation])
            found.append(gradient @ np.array([0.1, 0.7, -0.3, 0.5]))
        return np.array(found)

    paired, single = slopes(True), slopes(False)
    assert single.var(ddof=1) > 10 * paired.var(ddof=1)
    assert abs(paired.mean() - single.mean()) < 3 * np.sqrt((paired.var(ddof=1) + single.var(ddof=1)) / 40)
    tracer = PathTracer(samples=8, max_depth=2, antithetic=True, independent_gradient=False)
    light = scene["sky"].radiance

    def lit():
        return weighted(tidr.render(scene, renderer=tracer).rgb, 1 / 108)

    (gradient,) = tape_gradients(lit, [light])
    assert float((gradient * light.numpy()).sum()) == pytest.approx(float(lit()), rel=1e-4)  # the same paths again
    pictures = [
        tidr.render(scene, renderer=PathTracer(samples=512, max_depth=2, antithetic=on)).rgb.numpy()
        for on in (True, False)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() < 0.05 * pictures[1].mean()


def test_pairs_take_two(f32):
    with pytest.raises(SceneError, match="samples"):
        PathTracer(samples=3, antithetic=True)
    with pytest.raises(SceneError, match="antithetic"):
        PathTracer(antithetic=True, edges="warped_area")
    scene = board()
    scene.add_node("haze", Node(Volume(np.full((1, 1, 1), 0.7), albedo=(1, 1, 1))))
    with pytest.raises(SceneError, match="media"):
        tidr.render(scene, renderer=PathTracer(antithetic=True))
