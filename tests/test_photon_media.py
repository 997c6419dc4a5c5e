"""Media in photon mapping: quadratures, path tracing, and gradients to what media, veils and blends are made of."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper

from .gradients import directional_check, tape_gradients, weighted
from .media_scenes import QUAD, agree, drawn, foggy, narrow, repeated
from .nan_values import is_refused
from .photon_stage import blocks
from .reference.photons import henyey_greenstein

CELLS = np.random.default_rng(0).uniform(0.3, 2.0, (2, 3, 2))
ALBEDOS = np.random.default_rng(1).uniform(0.3, 0.9, (2, 3, 2, 3))


def misty(densities, albedo=(0.9, 0.7, 0.5), g=0.4, panel=(1.5, (0, 0, -1.2)), opacity=1.0, mixed=0.0, **options):
    """A medium before a wall that is a blend, and a black veil above them; all scenes hold the same kinds of things."""
    scene = foggy(densities, albedo, g, panel=panel, **options)
    scene.add_material("rust", tidr.Material("lambert", albedo=(0.7, 0.2, 0.1)))
    scene.add_material("mixed", tidr.Material("blend", first="grey", second="rust", weight=mixed))
    scene.add_material("gauze", tidr.Material("lambert", albedo=0.0, opacity=opacity))
    scene.nodes["panel"].materials = ("mixed",)
    veil = np.array([[-2, 1.4, -2], [-2, 1.4, 2], [2, 1.4, 2], [2, 1.4, -2]])
    scene.add_node("veil", tidr.Node(tidr.Mesh(veil, [[0, 1, 2], [0, 2, 3]]), materials=("gauze",)))
    scene.cameras["eye"] = narrow((0, 0, 5), 24)
    return scene


def lively() -> tidr.Scene:
    """Unequal cells, lights of three kinds, of which the veil shades the sky alone."""
    return misty(
        CELLS, ALBEDOS, sky=(0.2, 0.3, 0.4), lamp=(5, 4, 3), lamp_at=(0.5, 1.2, 1.6), sun=(1, 2, 3),
        sun_way=(0.3, 0.1, -1), opacity=0.5, mixed=0.4,
    )  # fmt: skip


def lamp_only(densities, *arguments, **options) -> tidr.Scene:
    return misty(densities, *arguments, **{"lamp": (6, 5, 4), "lamp_at": (0.4, 1.2, 1.5), **options})


def picture(scene, size=16, **settings) -> np.ndarray:
    return drawn(scene, PhotonMapper(**settings), size).numpy()[0]


def values(scene, names) -> list:
    return [scene.parameters(name)[name] for name in names]


def changes(scene, names, renderer, weights, size=8) -> list[np.ndarray]:
    """Gradients of the weighted sum of the picture."""
    return tape_gradients(lambda: weighted(drawn(scene, renderer, size), weights), values(scene, names))


# --------------------------------------------------------------------------------------------------------- the picture


def side_lit(fov_y_degrees, sigma, g, size=16, fine=3, steps=400) -> np.ndarray:
    """[size, size] radiance that a slab in |y| < 1, |z| < 1/2 of albedo 1 scatters once, lit straight from above by 1.

    int T(t) sigma phase exp(-sigma (1 - y)) dt along `fine` x `fine` rays a pixel of a camera at (0, 0, 5).
    """
    span = np.tan(np.radians(fov_y_degrees) / 2) * ((np.arange(size * fine) + 0.5) / (size * fine) * 2 - 1)
    x, y = np.meshgrid(span, -span)
    long = np.sqrt(x**2 + y**2 + 1)
    depth = (np.arange(steps)[:, None, None] + 0.5) / steps
    light = np.exp(-sigma * (1 - (4.5 + depth) * y) - sigma * depth * long)
    rays = sigma * henyey_greenstein(y / long, g) * light.mean(0) * long
    return rays.reshape(size, fine, size, fine).mean((1, 3))


@pytest.mark.row(53)
def test_single_scattering_of_a_slab_is_the_quadrature(f64):
    """Within 3.3 standard errors and 1 % for the kernel; 5 % more would be noticed."""
    sigma, albedo, g, sun = 1.2, np.array([0.9, 0.7, 0.5]), 0.4, np.array([3.0, 2.0, 1.0])
    scene = misty(sigma, tuple(albedo), g, sun=tuple(sun), sun_way=(0, -1, 0), panel=(1e-3, (0, 0, -0.6)))
    scene.nodes["veil"].translation.set([0.0, -4.0, 0.0])
    scene.cameras["eye"] = narrow((0, 0, 5), 16)
    settings = {"photons": 100_000, "passes": 1, "radius": 0.1, "max_depth": 2}
    images = np.stack([picture(scene, seed=seed, **settings) for seed in range(12)])
    exact = side_lit(16, sigma, g)[..., None] * (albedo * sun)
    for found, expected in (
        (np.stack([*map(blocks, images)]), blocks(exact)),
        (images.mean((1, 2)), exact.mean((0, 1))),
    ):
        slack = 3.3 * found.std(0, ddof=1) / len(images) ** 0.5 + 0.01 * expected
        assert (np.abs(found.mean(0) - expected) < slack).all(), found.mean(0) / expected
    assert (np.abs(1.05 * found.mean(0) - expected) > slack).all()


@pytest.mark.row(53)
def test_photons_and_paths_make_the_same_picture_of_media(f64):
    """Many scatterings, a wall in the fog, a blend, a veil; 2 % for what the kernels blur."""
    scene = lively()
    settings = {"photons": 12_000, "passes": 16, "radius": 0.1, "max_depth": 32}
    seen, error = repeated(lambda seed: blocks(picture(scene, seed=seed, **settings)), 8)
    paths = {"samples": 250, "max_depth": 32}
    truth, noise = repeated(lambda seed: blocks(drawn(scene, PathTracer(seed=90 + seed, **paths), 16).numpy()[0]), 8)
    assert (np.abs(seen - truth) < 3.3 * np.hypot(error, noise) + 0.02 * truth).all(), seen / truth
    assert abs(seen.mean() / truth.mean() - 1) < 0.012


def test_what_hides_the_sky_is_covered(f64):
    """alpha is 1 less the transmittance where nothing is behind the medium; the wall is out of sight."""
    scene = misty(0.7, sky=(1, 1, 1), panel=(1e-3, (0, 0, -1.2)))
    scene.cameras["eye"] = narrow((0, 0, 50), 0.02)
    image = PhotonMapper(photons=100, passes=1).render(scene, [scene.cameras["eye"]], 4, 4)
    assert np.allclose(image.alpha.numpy(), 1 - np.exp(-0.7), rtol=1e-5)


@pytest.mark.long
def test_a_grid_of_equal_cells_is_a_homogeneous_medium(f64):
    settings = {"photons": 2000, "passes": 2, "radius": 0.3, "max_depth": 8, "independent_gradient": False}
    scenes = [
        lamp_only(1.1, (0.9, 0.6, 0.4)),
        lamp_only(np.full((2, 3, 4), 1.1), np.tile((0.9, 0.6, 0.4), (2, 3, 4, 1))),
    ]
    one, other = (picture(scene, **settings) for scene in scenes)
    np.testing.assert_allclose(other, one, rtol=1e-9)
    names = ("cloud.density", "cloud.albedo", "cloud.g")
    one, other = (changes(scene, names, PhotonMapper(**settings), 1.0) for scene in scenes)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(b.reshape(-1, a.size).sum(0), a.reshape(-1, a.size).sum(0), rtol=1e-8)


# ----------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.row(53, 54)
def test_gradients_to_albedos_and_powers_are_exact(f64):
    """With the same random numbers the picture is a polynomial of them; scattered once, a smooth function of g."""
    weights, view = np.random.default_rng(1).uniform(0.5, 1, (1, 8, 8, 3)), {"independent_gradient": False}
    view |= {"photons": 2000, "passes": 2, "radius": 0.3, "roulette_depth": 99}
    scene = lamp_only(CELLS, ALBEDOS, mixed=0.4)

    def seen(depth):
        return lambda: weighted(drawn(scene, PhotonMapper(max_depth=depth, **view), 8), weights)

    names = ("cloud.albedo", "grey.albedo", "rust.albedo", "lamp.intensity")
    directional_check(seen(6), values(scene, names), f64)
    directional_check(seen(2), values(scene, ["cloud.g"]), f64)


@pytest.mark.row(54)
def test_gradients_are_differences_of_the_mean(f64):
    """F10.3 for halves of a grid of densities, g and a blend's weight: replicates of gradients and of differences, the
    latter with the same seeds on both sides.
    """
    scene, weights = lamp_only(0.5 * CELLS, ALBEDOS, 0.3, mixed=0.5), np.full((1, 8, 8, 3), 1 / 192)
    names = ("cloud.density", "cloud.g", "mixed.weight")
    densities, g, weight = values(scene, names)
    settings = {"photons": 6000, "passes": 12, "radius": 0.2, "max_depth": 12}
    back = np.zeros(densities.shape)
    back[0] = 1.0
    found = []
    for seed in range(16):
        found.append(changes(scene, names, PhotonMapper(seed=seed, **settings), weights))
    cases = (
        (densities, back, 0.1, False),
        (densities, 1 - back, 0.1, False),
        (g, 1.0, 0.1, True),
        (weight, 1.0, 0.25, False),
    )
    for value, way, h, needs_power in cases:
        start, slopes, differences = value.numpy(), [], []
        column = [densities, g, weight].index(value)
        for seed in range(16):
            ends = []
            for side in (1, -1):
                value.set(start + side * h * way)
                ends.append((picture(scene, 8, seed=100 + seed, **settings) * weights[0]).sum())
            slopes.append((found[seed][column] * way).sum())
            differences.append((ends[0] - ends[1]) / (2 * h))
        value.set(start)
        (one, error), (other, other_error) = (repeated(list_of.__getitem__, 16) for list_of in (slopes, differences))
        agree(one, error, other, other_error, power=needs_power)


@pytest.mark.row(54)
def test_the_gradient_to_opacity_is_that_of_the_share_let_through(f64):
    """All light comes once through the veil, so that the picture is 1 - opacity times that of no veil."""
    scene = misty(1.0, lamp=(60, 50, 40), lamp_at=(0.3, 3.0, 0.5), opacity=0.6)
    settings = {"photons": 20_000, "passes": 4, "radius": 0.2, "max_depth": 8, "independent_gradient": False}
    weights = np.full((1, 8, 8, 3), 1 / 192)
    seen = (picture(scene, 8, **settings) * weights[0]).sum()
    (slope,) = changes(scene, ["gauze.opacity"], PhotonMapper(**settings), weights)
    assert float(slope.sum()) == pytest.approx(-seen / 0.4, rel=1e-9)
    scene.materials["gauze"].sources["opacity"].set(0.2)
    assert (picture(scene, 8, **settings) * weights[0]).sum() / seen == pytest.approx(0.8 / 0.4, rel=0.06)


@pytest.mark.long
@pytest.mark.row(54)
def test_a_lamp_lights_others_by_as_much_as_it_is_there(f64):
    """With an opacity a, as one of a times the emission; the derivative by a is the light on others divided by a."""
    weights, settings = np.full((1, 8, 8, 3), 1 / 192), {"photons": 2000, "passes": 4, "radius": 0.2, "max_depth": 2}
    found = {}
    for opacity, emission in ((0.4, 5.0), (1.0, 2.0)):
        scene = misty(0.0)
        scene.add_material("glow", tidr.Material("lambert", albedo=0.0, emission=emission, opacity=opacity))
        lamp = tidr.Mesh(0.4 * QUAD + (1.8, 0, 0.2), [[0, 2, 1], [0, 3, 2]], shading="flat")  # beside what is seen
        scene.add_node("tile", tidr.Node(lamp, materials=("glow",)))
        found[opacity] = repeated(lambda seed, s=scene: (picture(s, 8, seed=seed, **settings) * weights[0]).sum(), 8)
        if opacity < 1:
            slopes = repeated(
                lambda seed, s=scene: changes(s, ["glow.opacity"], PhotonMapper(seed=seed, **settings), weights)[0], 8
            )
    (light, error) = found[1.0]
    agree(*found[0.4], light, error)
    agree(*slopes, light / 0.4, error / 0.4)


# ------------------------------------------------------------------------------------------------- memory, bad scenes


def test_nothing_is_allocated_again_and_extremes_are_finite(f64):
    settings, held = PhotonMapper(photons=2000, passes=2, radius=0.2, max_depth=8), []
    names = ("cloud.density", "cloud.albedo", "cloud.g", "grey.albedo")
    scene = lamp_only(1.0, (0.9, 0.0, 1.0))
    density, g = values(scene, ("cloud.density", "cloud.g"))
    for number, mean_cosine in ((1.0, 0.3),) * 3 + ((0.0, 0.0), (1e6, 0.0), (1.0, 0.98), (1.0, -0.98)):
        density.set(np.full(density.shape, number))
        g.set(mean_cosine)
        assert np.isfinite(drawn(scene, settings, 8).numpy()).all()
        assert all(np.isfinite(change).all() for change in changes(scene, names, settings, 1.0))
        held.append(buffer.allocations)
    assert held[1] == held[2]


@pytest.mark.parametrize("kind", ["path", "photons"])
def test_a_nan_in_a_medium_is_refused(f64, kind):
    scene = lively()
    renderer = PathTracer(samples=2) if kind == "path" else PhotonMapper(photons=1000, passes=1, radius=0.3)
    is_refused(scene, scene.cameras["eye"], renderer, ("cloud.density", "cloud.albedo", "cloud.g"))


def test_what_it_cannot_do_with_media_it_says(f64):
    with pytest.raises(SceneError, match=r"renderer\.method.*media"):
        picture(lamp_only(1.0), method="map")


# ---------------------------------------------------------------------------------------------------------- on Vulkan


def image_and_gradients() -> list[np.ndarray]:
    """Of the same random numbers in every precision."""
    names = ("cloud.density", "cloud.albedo", "cloud.g", "lamp.intensity", "grey.albedo", "gauze.opacity",
             "lamp.position", "panel.vertices", "eye.position")  # fmt: skip
    scene, weights = lively(), np.random.default_rng(1).uniform(0.5, 1, (1, 8, 8, 3))
    settings = {"photons": 1000, "passes": 1, "radius": 0.3, "max_depth": 6, "independent_gradient": False}
    return [picture(scene, 8, **settings), *changes(scene, names, PhotonMapper(**settings), weights)]


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return image_and_gradients()


@pytest.mark.long
def test_vulkan_draws_the_same_picture_and_gradients(exact, vulkan):
    found = image_and_gradients()
    assert np.abs(found[0] - exact[0]).mean() < 1e-3 * exact[0].mean()
    for one, other in zip(found[1:], exact[1:], strict=True):
        assert np.linalg.norm(one - other) < 2e-2 * np.linalg.norm(other)
