"""Media in the path tracer: closed forms, quadratures, the marched medium, and gradients against all of them."""

from itertools import pairwise

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.kernels.transport import bsdf_phase, slots
from tidr.kernels.volume import phase
from tidr.renderers.path import PathTracer
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.volume import Volume

from .chi_square import cell_counts, pearson_p, sidak, sphere_nodes
from .gradients import tape_gradients, weighted
from .media_scenes import BLACK, QUAD, agree, density, drawn, foggy, mean, narrow, repeated, slopes

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def draw_phases(n: ti.i32, g: float, u: A2, out: A2, pdf: A1):
    for i in range(n):
        p = ti.Vector.zero(float, slots.PARAMS)
        p[slots.ANISOTROPY] = g
        wo, _weight, density = bsdf_phase.phase_sample(p, u[i, 0], u[i, 1])
        pdf[i] = density
        for c in ti.static(range(3)):
            out[i, c] = wo[c]


@ti.kernel
def phase_of(n: ti.i32, g: float, cosines: A1, out: A1):
    for i in range(n):
        out[i] = phase.henyey_greenstein(cosines[i], g)


@pytest.mark.row(44)
@pytest.mark.parametrize("g", [-0.6, 0.0, 1e-4, 0.5, 0.7])
def test_directions_are_drawn_by_the_phase_function(f64, g):
    n, one = 200_000, np.zeros(1)
    u, wo, pdf = np.random.default_rng(1).integers(0, 1 << 24, (n, 2)) / (1 << 24), np.zeros((n, 3)), np.zeros(n)
    draw_phases(n, g, u, wo, pdf)
    nodes, weights = sphere_nodes()
    cosines = -nodes[..., 2].ravel().copy()  # z points to where the light goes on
    value = np.zeros_like(cosines)
    phase_of(len(value), g, cosines, value)
    expected = (value.reshape(nodes.shape[:2]) * weights).sum(1)
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    assert pearson_p(cell_counts(wo), n * expected) > sidak(5)
    assert -wo[:, 2].mean() == pytest.approx(g, abs=4e-3)
    phase_of(n, g, -wo[:, 2].copy(), value := np.zeros(n))
    np.testing.assert_allclose(pdf, value, rtol=1e-9)
    phase_of(1, 0.5, np.ones(1), one)
    assert one[0] == pytest.approx(0.477465, abs=1e-6)


@pytest.mark.row(31)
@pytest.mark.parametrize("behind", [pytest.param("sky", marks=pytest.mark.long), "panel"])
def test_slab_lets_through_what_beer_and_lambert_say(f64, behind):
    """exp(-sigma L) and its derivative -L exp(-sigma L), at sigma L = 1."""
    light = {"sky": (1, 1, 1)} if behind == "sky" else {"glow": (1, 1, 1), "panel": (2, (0, 0, -3))}
    scene = foggy(1.0, **light)
    value, error = repeated(lambda seed: mean(scene, samples=200, seed=seed), 8)
    agree(value, error, np.exp(-1))
    found, error = repeated(lambda seed: slopes(scene, [density(scene)], samples=200, seed=seed)[0], 8)
    agree(found, error, -0.367879)


def single(sigma: float, albedo: float, lamp: np.ndarray, power: float) -> float:
    """Light of a lamp that an even medium in |z| < 1/2 scatters once, evenly, along the z axis, by Gauss's rule."""
    x, w = np.polynomial.legendre.leggauss(200)
    z, w = x / 2, w / 2
    far = np.sqrt(lamp[1] ** 2 + (lamp[2] - z) ** 2)
    inside = far * np.minimum(1.0, 1 / lamp[1])  # it leaves the box by its top, y = 1
    light = power / far**2 * np.exp(-sigma * inside)
    return float((w * sigma * albedo / (4 * np.pi) * np.exp(-sigma * (0.5 - z)) * light).sum())


@pytest.mark.row(31)
def test_single_scattering_is_the_quadrature(f64):
    lamp, sigma = np.array([0.0, 2.5, 0.3]), 0.9
    scene = foggy(sigma, albedo=(0.6,) * 3, lamp=(7, 7, 7), lamp_at=lamp)
    settings = {"samples": 300, "max_depth": 2}
    agree(*repeated(lambda seed: mean(scene, seed=seed, **settings), 12), single(sigma, 0.6, lamp, 7.0))
    found, error = repeated(lambda seed: slopes(scene, [density(scene)], seed=seed, **settings)[0], 12)
    h = 1e-4
    expected = (single(sigma + h, 0.6, lamp, 7.0) - single(sigma - h, 0.6, lamp, 7.0)) / (2 * h)
    agree(found, error, expected)


@pytest.mark.row(31)
@pytest.mark.row(44)
def test_white_fog_under_an_even_sky_is_not_seen(f64):
    """Nothing is lost in it, so radiance is the sky's, and does not change with density; two media overlap."""
    rng = np.random.default_rng(3)
    scene = foggy(rng.uniform(0, 4, (3, 2, 3)), albedo=(1, 1, 1), g=0.5, sky=(1, 1, 1))
    scene.add_node("haze", tidr.Node(Volume(np.full((1, 1, 1), 0.7), albedo=(1, 1, 1), g=-0.3), rotation=(1, 2, 0, 1)))
    scene["panel"].translation.set((0, 0, 1e5))
    settings = {"samples": 500, "max_depth": 500, "roulette_depth": 500}
    value, error = repeated(lambda seed: mean(scene, seed=seed, **settings), 6)
    agree(value, error, 1.0)
    found, error = repeated(
        lambda seed: slopes(scene, [density(scene), density(scene, "haze")], seed=seed, **settings), 6
    )
    assert (np.abs(found) < 5 * error + 1e-9).all()
    assert error.max() < 0.1


@pytest.mark.row(44)
def test_a_grid_of_equal_cells_is_a_homogeneous_medium(f64):
    common = {"sky": (0.3, 0.5, 0.7), "lamp": (5, 4, 3), "sun": (1, 1, 1), "sun_way": (0.2, -1, 0.3), "g": 0.3}
    grids = np.full((2, 3, 4), 1.1), np.tile((0.9, 0.6, 0.4), (2, 3, 4, 1))
    even, grid = foggy(1.1, (0.9, 0.6, 0.4), **common), foggy(*grids, **common)
    settings = PathTracer(samples=8)
    np.testing.assert_allclose(drawn(grid, settings).numpy(), drawn(even, settings).numpy(), rtol=1e-9)
    one, other = (
        tape_gradients(lambda s=scene: weighted(drawn(s, settings), 1.0), list(scene.parameters("cloud.*").values()))
        for scene in (even, grid)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.reshape(-1, a.size).sum(0), b.reshape(-1, a.size).sum(0), rtol=1e-8)


@pytest.mark.row(44)
def test_scattered_once_it_is_the_marched_medium(f64):
    """Values and gradients are those of the volume renderer, cell by cell, empty cells too."""
    rng = np.random.default_rng(5)
    cells = rng.uniform(0.3, 2, (2, 3, 2))
    cells[1], cells[1, 2, 1] = 0, 1.5
    albedos = rng.uniform(0.3, 0.9, (2, 3, 2, 3))
    scene, marched = (
        foggy(
            cells, albedos, 0.4, lamp=(5, 4, 3), sun=(1, 2, 3), sun_way=(0.3, -1, 0.2), lower=(-1, -0.9, -1),
            upper=(1, 1, 1.2),
        )
        for _ in range(2)
    )  # fmt: skip
    del marched.nodes["panel"], marched.lights["sky"]  # dark, and out of sight: paths' kernels are those of all tests
    scene.cameras["eye"] = marched.cameras["eye"] = narrow((0, 0, 5), 20)
    names = ("cloud.density", "cloud.albedo", "cloud.g", "*.intensity", "*.irradiance")
    arrays, others = ([*each.parameters(*names).values()] for each in (scene, marched))
    march, size = VolumeRenderer(steps=120, light_steps=60, light_nodes=33, stop=0.0), 48
    wanted = np.concatenate(
        [x.ravel() for x in tape_gradients(lambda: weighted(drawn(marched, march, size), 1 / (3 * size**2)), others)]
    )
    settings = {"samples": 700, "max_depth": 2}
    value, error = repeated(lambda seed: mean(scene, seed=seed, **settings), 8)
    agree(value, error, drawn(marched, march, size).numpy().mean())
    found, error = repeated(lambda seed: slopes(scene, arrays, seed=seed, **settings), 16)
    rough = np.abs(found - wanted) / (error + 0.01 * np.abs(wanted))
    assert (rough < 4.5).all(), rough
    for first, last in ((0, 12), (12, 48), (48, 49), (49, 55)):  # a direction of each kind, for its power
        way = np.sign(wanted[first:last])
        spread = np.linalg.norm(error[first:last]) + 0.004 * np.abs(wanted[first:last]).sum()
        agree(way @ found[first:last], spread, way @ wanted[first:last], power=first != 48)


@pytest.mark.row(31)
@pytest.mark.row(44)
def test_gradients_of_many_scatterings_are_differences(f64):
    """F10.3 for density, albedo and g: independent replicates, and a tenth more would be noticed."""
    scene = foggy(1.0, (0.9, 0.8, 0.7), 0.5, sky=(1, 1, 1), lower=(-1, -1, -1), upper=(1, 1, 1))
    scene.lights["sky"].radiance.set((1.0, 0.8, 0.6))
    scene.add_light("lamp2", tidr.PointLight((0.3, 0.4, 3), (9, 9, 9)))
    scene.cameras["eye"] = narrow((0, 0, 5), 8)
    settings = {"max_depth": 12, "roulette_depth": 12}
    cases = (("density", 0.1, 200, 1500, True), ("albedo", 0.02, 50, 400, True), ("g", 0.1, 100, 500, False))
    for name, h, few, many, needs_power in cases:
        array = scene.parameters(f"cloud.{name}")[f"cloud.{name}"]
        start = array.numpy()
        found, error = repeated(
            lambda seed, a=array, few=few: slopes(scene, [a], samples=few, seed=seed, **settings).sum(), 12
        )

        def difference(seed, array=array, start=start, h=h, many=many):
            ends = []
            for side in (1, -1):
                array.set(start + side * h)
                ends.append(mean(scene, samples=many, seed=seed, **settings))
            array.set(start)
            return (ends[0] - ends[1]) / (2 * h)

        agree(found, error, *repeated(lambda seed: difference(seed + 1000), 12), power=needs_power)


def test_albedos_have_exact_gradients(f64):
    """With the same paths the picture is a polynomial of the albedos."""
    rng = np.random.default_rng(4)
    scene = foggy(
        rng.uniform(0.2, 2, (2, 2, 2)), rng.uniform(0.3, 0.9, (2, 2, 2, 3)), 0.4, sky=(0.2, 0.3, 0.4), lamp=(3, 4, 5),
        sun=(1, 1, 2), sun_way=(0.3, -1, -0.2), panel=(2, (0, 0, -1)), glow=(0.1, 0.2, 0.1),
    )  # fmt: skip
    scene.cameras["eye"] = narrow((0, 0, 5), 20)
    weights = rng.normal(size=(1, 4, 4, 3))
    settings = {"samples": 8, "max_depth": 6, "roulette_depth": 50, "independent_gradient": False}
    parameters = scene.parameters("cloud.albedo", "grey.albedo")
    for name, array in parameters.items():
        start, way = array.numpy(), rng.uniform(0.5, 1, array.numpy().shape)
        exact, ends = float(slopes(scene, [array], weights, **settings) @ way.ravel()), []
        for side in (1, -1):
            array.set(start + side * 1e-5 * way)
            ends.append(mean(scene, weights, **settings))
        array.set(start)
        assert exact == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5), name


@pytest.mark.row(31)
def test_a_surface_in_the_shade_of_a_medium(f64):
    """A lamp above layers of fog, which the camera does not look through: E exp(-depth), layer by layer."""
    layers = np.array([0.2, 1.4, 0.5, 0.9])
    scene = foggy(
        layers[:, None, None], lamp=(50, 50, 50), lamp_at=(0, 0, 4), panel=(2, (0, 0, -1)), lower=(-1, -1, 0),
        upper=(1, 1, 2),
    )  # fmt: skip
    scene.cameras["eye"] = narrow((4, 0, -0.5), 0.05, (0, 0, -1))
    x, w = np.polynomial.legendre.leggauss(16)
    knots = np.array([0, 0.5, 1.5, 2.5, 3.5, 4])
    places = np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairwise(knots)])
    weights = np.concatenate([(b - a) / 2 * w for a, b in pairwise(knots)]) * 2 / 4
    shares = np.array([(weights * np.interp(places, np.arange(4) + 0.5, np.eye(4)[k])).sum() for k in range(4)])
    expected = np.mean([0.4, 0.5, 0.6]) / np.pi * 50 / 25 * np.exp(-shares @ layers)
    settings = {"samples": 300, "max_depth": 2}
    agree(*repeated(lambda seed: mean(scene, seed=seed, **settings), 6), expected)
    found, error = repeated(lambda seed: slopes(scene, [density(scene)], seed=seed, **settings), 10)
    for k in range(4):
        agree(found[k], error[k], -shares[k] * expected, power=k == 1)


@pytest.mark.row(44)
def test_nothing_learns_what_it_could_be(f64):
    """At density 0: light scattered once by a unit of density, less what it takes from the sky behind it."""
    scene = foggy(np.zeros((1, 1, 2)), albedo=(0.6,) * 3, sky=(0.5,) * 3, sun=(12,) * 3, sun_way=(0, -1, 0))
    scene["panel"].translation.set((0, 0, 1e5))
    found, error = repeated(lambda seed: slopes(scene, [density(scene)], samples=500, seed=seed).reshape(-1), 10)
    agree(found.sum(), np.linalg.norm(error), 0.6 * (12 / (4 * np.pi) + 0.5) - 0.5)


def layered(densities, **options) -> tuple[tidr.Scene, Volume]:
    """A medium with an activation, one with another in it, and two black sheets in them that let all light through."""
    scene = foggy(densities, density_activation="softplus", density_shift=-0.5, **options)
    bump = Volume(np.full((1, 1, 1), 0.6), albedo=BLACK, density_activation="relu", upper=(1, 1, 0))
    scene.add_node("bump", tidr.Node(bump))
    for name, height in (("near", 0.1), ("far", 0.4)):
        scene.add_material(f"{name} sheet", tidr.Material("lambert", albedo=0.0, opacity=0.0))
        mesh = tidr.Mesh(4 * QUAD + (0, 0, height), [[0, 1, 2], [0, 2, 3]])
        scene.add_node(name, tidr.Node(mesh, materials=(f"{name} sheet",)))
    return scene, bump


@pytest.mark.long
def test_activations(f64):
    """Two media with activations, one in the other: optical depths add up, with slopes of their own."""
    scene, bump = layered(0.3, sky=(1, 1, 1))
    expected = np.exp(-np.log1p(np.exp(-0.2)) - 0.6)
    agree(*repeated(lambda seed: mean(scene, samples=500, seed=seed), 8), expected)
    arrays = [density(scene), bump.density]
    found, error = repeated(lambda seed: slopes(scene, arrays, samples=500, seed=seed), 8)
    agree(found[0], error[0], -expected / (1 + np.exp(0.2)))
    agree(found[1], error[1], -expected)
    bump.density.set([[[-0.6]]])
    assert slopes(scene, [bump.density], samples=8) == 0


def test_a_bulb_behind_two_sheets_in_media_is_dimmed_by_both(f64):
    """As without media: test_path_see_through.py."""
    densities = np.random.default_rng(1).uniform(-1, 0.5, (3, 3, 3))
    scene, _ = layered(densities, lamp=(3, 3, 3), lamp_at=(0, 0, 1), panel=(4, (0, 0, -1)))
    scene.cameras["eye"] = narrow((1.2, 0, -0.4), 20, (0, 0, -1))
    options = {"samples": 4, "max_depth": 2, "independent_gradient": False}
    plain = mean(scene, **options)
    opacities = [scene.materials[f"{name} sheet"].sources["opacity"] for name in ("near", "far")]
    for array, opacity in zip(opacities, (0.4, 0.3), strict=True):
        array.set(opacity)
    dimmed = mean(scene, **options)
    assert dimmed == pytest.approx(0.6 * 0.7 * plain, rel=1e-9)
    near, far = slopes(scene, opacities, **options)
    assert 0.6 * near + 0.7 * far == pytest.approx(-2 * dimmed, rel=1e-9)
    for gradient, left in ((near, 0.6), (far, 0.7)):
        assert gradient == pytest.approx(-dimmed / left, rel=0.4)  # one of the two by chance, for both


@pytest.mark.row(44)
def test_finds_the_density_of_fog(f64):
    """T15, homogeneous: within 2 % after 50 steps on a noisy picture each."""
    scene = foggy(1.3, (0.9, 0.7, 0.5), 0.3, sky=(1, 0.8, 0.6), lamp=(6, 6, 6), sun=(2, 2, 2), sun_way=(0.3, -1, -0.2))
    scene.cameras["eye"] = narrow((0.5, 0.3, 4), 40)
    target = Array.of(drawn(scene, PathTracer(samples=4000, seed=1), 6).numpy(), needs_grad=False)
    parameters, steps = scene.parameters("cloud.density"), 50
    density(scene).set([[[0.5]]])
    optimizer = tidr.Adam(parameters, 0.1)
    for step in range(steps):
        with tidr.Tape() as tape:  # for all gradients: the kernels of the tests above
            tape.add(tidr.losses.mse(drawn(scene, PathTracer(samples=100, seed=step + 2), 6), target))
        optimizer.lr = 0.1 * (1 - step / steps)
        optimizer.step()
    assert density(scene).numpy().item() == pytest.approx(1.3, rel=0.02)


@pytest.mark.row(44)
def test_finds_a_blob_in_even_fog(f64):
    """T15 in small: 6^3 cells from eight views of noisy pictures; `tidr fit fog` is the whole of it."""
    z, y, x = np.meshgrid(*[(np.arange(6) + 0.5) / 3 - 1] * 3, indexing="ij")
    blob = 3 * np.exp(-4 * ((x - 0.2) ** 2 + (y + 0.1) ** 2 + z**2))
    scene = foggy(blob, (0.3, 0.45, 0.6), sky=(0.6, 0.7, 0.8), sun=(1.5, 1.3, 1.1), lower=(-1, -1, -1), upper=(1, 1, 1))
    views = tidr.sphere_views(8, 3.2, fov_y_degrees=40, width=10, height=10)

    def seen(samples: int, seed: int) -> Array:
        return PathTracer(samples=samples, max_depth=6, seed=seed).render(scene, views, 10, 10).rgb

    target = Array.of(seen(256, 1000).numpy(), needs_grad=False)
    parameters, steps = scene.parameters("cloud.density"), 40
    density(scene).set(np.full((6, 6, 6), 0.5))
    before = np.linalg.norm(density(scene).numpy() - blob)
    optimizer = tidr.Adam(parameters, 0.2)
    for step in range(steps):
        with tidr.Tape() as tape:
            tape.add(tidr.losses.mse(seen(16, step), target))
        optimizer.lr = 0.2 * 0.05 ** (step / steps)
        optimizer.step()
    assert np.linalg.norm(density(scene).numpy() - blob) < 0.25 * before


def test_memory_does_not_grow_with_depth(f64):
    scene = foggy(np.full((2, 2, 2), 0.8), (0.9, 0.9, 0.9), sky=(1, 1, 1))
    made = []
    for depth in (2, 2, 64):
        slopes(scene, [density(scene)], samples=16, max_depth=depth)
        made.append(buffer.allocations)
    assert made[2] == made[1]


def test_degenerate_media_are_finite(f64):
    for sigma, g in ((0.0, 0.0), (1e6, 0.0), (1e-12, 0.0), (1.0, 0.98), (1.0, -0.98)):
        scene = foggy(sigma, (0.9, 0.0, 1.0), g, sky=(1, 1, 1), lamp=(1, 1, 1), lamp_at=(0, 0, 0), sun=(1, 1, 1))
        scene.cameras["eye"] = narrow((0, 0, 0.2), 30)  # from within, towards the lamp
        assert np.isfinite(drawn(scene, PathTracer(samples=4)).numpy()).all()
        assert np.isfinite(slopes(scene, list(scene.parameters("*").values()), samples=4)).all()


@pytest.mark.long
@pytest.mark.row(31)
def test_on_a_gpu(vulkan):
    """In f32: what a slab lets through, and how that changes, and what it scatters once."""
    out, lamp, sigma = (1e-9,) * 3, np.array([0.0, 2.5, 0.3]), 0.9  # lights that are out, so that kernels stay the same
    scene = foggy(1.0, sky=(1, 1, 1), lamp=out, lamp_at=lamp)
    agree(*repeated(lambda seed: mean(scene, samples=160, seed=seed), 8), np.exp(-1))
    found, error = repeated(lambda seed: slopes(scene, [density(scene)], samples=160, seed=seed)[0], 8)
    agree(found, error, -np.exp(-1))
    scene = foggy(sigma, albedo=(0.6,) * 3, sky=out, lamp=(7, 7, 7), lamp_at=lamp)
    found = repeated(lambda seed: mean(scene, samples=160, max_depth=2, seed=seed), 12)
    agree(*found, single(sigma, 0.6, lamp, 7.0))


def test_what_it_cannot_follow_it_says(f64):
    scene = foggy(1.0)
    scene.add_node("fire", tidr.Node(Volume(np.ones((1, 1, 1)), color=(1, 0, 0), albedo=(1, 1, 1))))
    with pytest.raises(SceneError, match=r"nodes.fire.volume.*emits"):
        drawn(scene, PathTracer())
    with pytest.raises(SceneError, match=r"renderer.edges.*media"):
        drawn(foggy(1.0), PathTracer(edges="warped_area"))
