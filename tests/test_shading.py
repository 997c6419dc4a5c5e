"""The interaction buffer, BRDFs and shade kernels: closed forms of methods A10, gradients, masks, degenerate input."""

import functools

import numpy as np
import pytest
import taichi as ti

from tidr import runtime
from tidr.buffer import Buffer
from tidr.kernels.shading import brdf, buffer, shade
from tidr.kernels.transport import slots

from .bsdf_checks import Bsdfs, directions, materials
from .conftest import start

COLUMNS = ("normal", "view", "light_vector", "light_value", "albedo", "specular", "roughness", "metallic", "shininess")


@ti.func
def velvet(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """A user's own material: Lambert darkened by roughness, with a rim."""
    rim = 1.0 - normal.dot(brdf.unit(view + light))
    return albedo * (1.0 - 0.4 * roughness) / brdf.PI + specular * (rim * rim * (1.0 + metallic) + 0.01 * shininess)


def get_buffer(n: int) -> buffer.InteractionBuffer:
    return buffer.interaction_buffer(runtime.real(), n, runtime.generation())


def upload(field, array) -> None:
    """Write array [n, ...] into the first entries of a field, 0 into the others."""
    array = np.asarray(array)
    kind = np.int32 if array.dtype.kind == "i" else np.float64 if runtime.current().precision == 64 else np.float32
    full = np.zeros((field.shape[0], *array.shape[1:]), kind)
    full[: len(array)] = array
    field.from_numpy(full)


def download(field, n: int) -> np.ndarray:
    return field.to_numpy()[:n].astype(np.float64)


def ints(array) -> Buffer:
    """Int buffer; hold it while its ndarray is in use."""
    array = np.asarray(array, np.int32)
    made = Buffer(array.shape, "int")
    made.ndarray.from_numpy(array)
    return made


def lit_points(n: int, seed: int) -> dict[str, np.ndarray]:
    """Columns of n points seen and lit from the front, away from every clamp."""
    rng = np.random.default_rng(seed)

    def around(axis, spread):
        return np.asarray(axis) + rng.uniform(-spread, spread, (n, 3))

    return {
        "normal": around([0, 0, 1.5], 0.3),
        "view": around([0.3, 0.2, 2.0], 0.5),
        "light_vector": around([-0.4, 0.5, 1.8], 0.5),
        "light_value": rng.uniform(0.5, 2.0, (n, 3)),
        "albedo": rng.uniform(0.1, 0.9, (n, 3)),
        "specular": rng.uniform(0.1, 0.9, (n, 3)),
        "roughness": rng.uniform(0.3, 1.0, n),
        "metallic": rng.uniform(0.1, 0.9, n),
        "shininess": rng.uniform(2.0, 12.0, n),
    }


def fill(b, columns: dict[str, np.ndarray]) -> None:
    for name, array in columns.items():
        upload(getattr(b, name), array)


def shaded(b, n: int, kernel, kind: int) -> np.ndarray:
    """[n, 3] colours under one light, all materials of family 0."""
    family = ints([0])
    upload(b.material, np.zeros(n, np.int32))
    b.clear_color(n)
    kernel(b, n, family.ndarray, 0, kind)
    return download(b.color, n)


def single(kernel, kind: int = shade.DIRECTIONAL, **columns) -> np.ndarray:
    """[3] colour of one point with given columns; the others as lit from straight above."""
    given = {
        "normal": [0, 0, 1], "view": [0, 0, 1], "light_vector": [0, 0, 1], "light_value": [1, 1, 1],
        "albedo": [0, 0, 0], "specular": [0, 0, 0], "roughness": 0.5, "metallic": 0.0, "shininess": 8.0,
    } | columns  # fmt: skip
    b = get_buffer(1)
    fill(b, {name: np.asarray(value, float)[None] for name, value in given.items()})
    return shaded(b, 1, kernel, kind)[0]


LAMBERT = pytest.param(brdf.lambert, brdf.ambient_diffuse, id="lambert", marks=pytest.mark.row(109))
PHONG = pytest.param(brdf.phong, brdf.ambient_diffuse, id="phong", marks=pytest.mark.row(110))
BLINN = pytest.param(brdf.blinn_phong, brdf.ambient_diffuse, id="blinn_phong", marks=pytest.mark.row(111))
GGX = pytest.param(
    brdf.metallic_roughness, brdf.ambient_metallic_roughness, id="metallic_roughness", marks=pytest.mark.row(113)
)
CUSTOM = pytest.param(velvet, brdf.ambient_diffuse, id="custom")


KINDS = {"ambient": shade.AMBIENT, "directional": shade.DIRECTIONAL, "point": shade.POINT}
WEIGHTS = np.random.default_rng(9).uniform(0.5, 1.5, (40, 3))


def gradients_of(function, ambient, kind: int) -> dict[str, np.ndarray]:
    """By columns, [n, components], of the weighted sum of the colours of `lit_points`, which stay in the buffer."""
    n, kernel = len(WEIGHTS), shade.shade_kernel(function, ambient)
    b = get_buffer(n)
    fill(b, lit_points(n, seed=kind))
    shaded(b, n, kernel, kind)
    b.clear_grads(n)
    upload(b.color.grad, WEIGHTS)
    family = ints([0])
    kernel.grad(b, n, family.ndarray, 0, kind)
    kept = WEIGHTS.astype(np.float32 if runtime.current().precision == 32 else float)
    assert np.array_equal(download(b.color.grad, n), kept)
    return {name: download(getattr(b, name).grad, n).reshape(n, -1) for name in COLUMNS}


@functools.cache
def in_64_bits(function, ambient, kind: int) -> dict[str, np.ndarray]:
    start("cpu", 64)
    return gradients_of(function, ambient, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("function", "ambient"), [LAMBERT, PHONG, BLINN, GGX, CUSTOM])
def test_gradient_of_every_column_equals_differences(f64, function, ambient, kind):
    gradients, kind = in_64_bits(function, ambient, KINDS[kind]), KINDS[kind]
    n, kernel, weights = len(WEIGHTS), shade.shade_kernel(function, ambient), WEIGHTS
    b, columns = get_buffer(n), lit_points(n, seed=kind)
    fill(b, columns)

    def measured(name, component, step):
        sides = []
        for sign in (1, -1):
            moved = columns[name].reshape(n, -1).copy()
            moved[:, component] += sign * step
            upload(getattr(b, name), moved.reshape(columns[name].shape))
            sides.append((shaded(b, n, kernel, kind) * weights).sum(1))
        upload(getattr(b, name), columns[name])
        return (sides[0] - sides[1]) / (2 * step)

    for name in COLUMNS:
        for component in range(gradients[name].shape[1]):
            exact, step = gradients[name][:, component], f64.step
            slope = (4 * measured(name, component, step / 2) - measured(name, component, step)) / 3
            scale = np.maximum(np.abs(slope), 1e-1 * np.abs(slope).max()) + 1e-6
            assert (np.abs(exact - slope) <= f64.rtol * scale).all(), f"{name}[{component}]"


@pytest.mark.row(115)
def test_taichis_gradient_of_a_material_is_the_one_by_hand(f64):
    """Metallic-roughness as local shading has it, by Taichi, and as light transport has it, by hand."""
    n, rng = 60, np.random.default_rng(115)
    parameters = materials(slots.METALLIC_ROUGHNESS, n, rng)
    wi, wo, weights = (directions(n, rng, False) for _ in range(3))
    wi[:, 2], wo[:, 2] = np.abs(wi[:, 2]) + 0.05, np.abs(wo[:, 2]) + 0.05
    wi, wo = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (wi, wo))
    by_hand, _ = Bsdfs([slots.METALLIC_ROUGHNESS]).adjoint(slots.METALLIC_ROUGHNESS, parameters, wi, wo, weights)
    kernel = shade.shade_kernel(brdf.metallic_roughness, brdf.ambient_metallic_roughness)
    b, at, family = get_buffer(n), slots.OFFSETS, ints([0])
    albedo = parameters[:, at["albedo"] : at["albedo"] + 3]
    columns = {"normal": np.tile([0.0, 0.0, 1.0], (n, 1)), "view": wi, "light_vector": wo, "albedo": albedo}
    columns |= {name: parameters[:, at[name]] for name in ("roughness", "metallic")}
    fill(b, columns | {"light_value": np.ones((n, 3))})
    shaded(b, n, kernel, shade.DIRECTIONAL)
    b.clear_grads(n)
    upload(b.color.grad, weights)
    kernel.grad(b, n, family.ndarray, 0, shade.DIRECTIONAL)
    places = at | {"view": slots.PARAMS, "light_vector": slots.PARAMS + 3}
    for name in ("albedo", "roughness", "metallic", "view", "light_vector"):
        found = download(getattr(b, name).grad, n).reshape(n, -1)
        exact = by_hand[:, places[name] : places[name] + found.shape[1]]
        if name in ("view", "light_vector"):  # of a unit vector only what is across it
            exact = exact - columns[name] * (exact * columns[name]).sum(1, keepdims=True)
        assert np.abs(exact).max() > 1e-2
        assert np.abs(found - exact).max() <= 1e-6 * np.abs(exact).max(), name


@pytest.mark.parametrize(("function", "ambient"), [LAMBERT, PHONG, BLINN, GGX, CUSTOM])
def test_gradients_on_vulkan_are_those_in_64_bits(vulkan, function, ambient):
    exact = [in_64_bits(function, ambient, kind) for kind in KINDS.values()]
    start(vulkan.arch, vulkan.precision)
    for kind, expected in zip(KINDS.values(), exact, strict=True):
        for name, found in gradients_of(function, ambient, kind).items():
            scale = np.maximum(np.abs(expected[name]), 1e-1 * np.abs(expected[name]).max(0)) + 1e-6
            assert (np.abs(found - expected[name]) <= vulkan.rtol * scale).all(), name


@pytest.mark.row(109)
def test_lambert_returns_albedo_over_pi_times_cosine(backend):
    tilted = np.array([np.sqrt(0.75), 0, 0.5])
    color = single(
        shade.shade_kernel(brdf.lambert), albedo=[0.2, 0.4, 0.8], light_vector=3 * tilted, light_value=[2, 2, 2]
    )
    assert np.allclose(color, np.array([0.2, 0.4, 0.8]) / np.pi, rtol=1e-5)


@pytest.mark.row(110)
def test_phong_hand_value(backend):
    view = [np.sin(0.3), 0, np.cos(0.3)]
    color = single(shade.shade_kernel(brdf.phong), albedo=[0.5] * 3, specular=[0.3] * 3, shininess=20.0, view=view)
    assert np.allclose(color, 0.5 / np.pi + 0.3 * 22 / (2 * np.pi) * np.cos(0.3) ** 20, rtol=1e-4)


@pytest.mark.row(113)
def test_ggx_at_normal_incidence(backend):
    assert np.allclose(single(shade.shade_kernel(brdf.metallic_roughness)), 0.0509296, atol=2e-7)


@ti.kernel
def densities(alpha: float, cosine: ti.types.ndarray(ndim=1), out: ti.types.ndarray(ndim=1)):
    for i in range(cosine.shape[0]):
        c = cosine[i]
        half = ti.Vector([ti.sqrt(1.0 - c * c), 0.0, c])
        out[i] = brdf.ggx(ti.Vector([0.0, 0.0, 1.0]), half, alpha)


@pytest.mark.row(113)
@pytest.mark.parametrize("alpha", [0.0064, 0.25, 1.0])
def test_ggx_normals_cover_the_surface(backend, alpha):
    # in t = sin^2 the integral of D cos over the hemisphere is pi times that of D; t = e^x resolves the peak
    x = np.linspace(np.log(1e-10), 0, 20001)
    cosine, out = Buffer((len(x),)), Buffer((len(x),))
    cosine.ndarray.from_numpy(np.sqrt(1 - np.exp(x)).astype(np.float64 if backend.precision == 64 else np.float32))
    densities(alpha, cosine.ndarray, out.ndarray)
    total = np.trapezoid(out.ndarray.to_numpy().astype(float) * np.exp(x), x) * np.pi
    assert total == pytest.approx(1.0, abs=1e-4 if backend.precision == 64 else 2e-3)


def reflected(function, angle: float, **columns) -> float:
    """The share of light arriving from `angle` that leaves anywhere: the integral of BRDF times cosine."""
    cosines, weights = np.polynomial.legendre.leggauss(96)
    cosines, weights = 0.5 * (cosines + 1), 0.5 * weights
    turns = (np.arange(192) + 0.5) / 192 * 2 * np.pi
    c, turn = (grid.ravel() for grid in np.meshgrid(cosines, turns, indexing="ij"))
    n, sine = len(c), np.sqrt(1 - c * c)
    everywhere = {
        "normal": [0, 0, 1], "view": [np.sin(angle), 0, np.cos(angle)], "albedo": [0, 0, 0], "specular": [0, 0, 0],
    }  # fmt: skip
    b = get_buffer(n)
    fill(b, {name: np.tile(np.asarray(value, float), (n, 1)) for name, value in everywhere.items()})
    fill(
        b,
        {name: np.full(n, value) if np.ndim(value) == 0 else np.tile(value, (n, 1)) for name, value in columns.items()},
    )
    upload(b.light_vector, np.stack([sine * np.cos(turn), sine * np.sin(turn), c], -1))
    upload(b.light_value, np.repeat(np.repeat(weights, 192)[:, None], 3, 1) * 2 * np.pi / 192)
    return float(shaded(b, n, shade.shade_kernel(function), shade.DIRECTIONAL)[:, 0].sum())


@pytest.mark.parametrize(
    "function",
    [pytest.param(brdf.phong, marks=pytest.mark.row(110)), pytest.param(brdf.blinn_phong, marks=pytest.mark.row(111))],
    ids=["phong", "blinn_phong"],
)
def test_specular_lobe_never_reflects_more_than_it_receives(f64, function):
    for shininess in (0.0, 1.0, 4.0, 8.0, 30.0, 100.0):
        lobe = {"specular": [1.0] * 3, "shininess": shininess}
        assert reflected(function, 0.0, **lobe) == pytest.approx(1.0, abs=1e-4)
        for degrees in (20, 40, 60, 80):
            assert reflected(function, np.radians(degrees), **lobe) <= 1.0 + 2e-3


@pytest.mark.row(113)
def test_ggx_furnace_loses_only_by_single_scattering(f64):
    shares = [
        reflected(brdf.metallic_roughness, 0.5, albedo=[1.0] * 3, metallic=1.0, roughness=r) for r in (0.4, 0.7, 1)
    ]
    # sampling the density of normals, 2 million samples, in numpy
    assert shares == pytest.approx([0.9625, 0.6930, 0.3325], abs=1e-3)


@pytest.mark.row(113)
def test_roughness_bends_smoothly_to_its_smallest(f64):
    kernel = shade.shade_kernel(brdf.metallic_roughness)
    peak = [float(single(kernel, roughness=r)[0]) for r in (-1.0, 0.0, 0.16, 0.5)]
    kept = [(0.04 / (4 * np.pi * value)) ** 0.25 for value in peak]
    assert np.allclose(kept, [0.08, 0.08, 0.16, 0.5])


@pytest.mark.row(141)
def test_ambient_light_returns_albedo(backend):
    light = {"kind": shade.AMBIENT, "light_value": [2.0, 1.0, 0.5], "albedo": [0.2, 0.4, 0.6]}
    for function in (brdf.lambert, brdf.phong, brdf.blinn_phong):
        color = single(shade.shade_kernel(function), specular=[0.3] * 3, **light)
        assert np.allclose(color, [0.4, 0.4, 0.3], rtol=1e-6)
    kernel = shade.shade_kernel(brdf.metallic_roughness, brdf.ambient_metallic_roughness)
    assert np.allclose(single(kernel, metallic=1.0, **light), [0.4, 0.4, 0.3], rtol=1e-6)
    assert np.allclose(single(kernel, metallic=0.0, **light), [0.48, 0.44, 0.32], rtol=1e-6)


@pytest.mark.row(139)
def test_point_light_falls_with_the_square_of_distance(backend):
    kernel = shade.shade_kernel(brdf.lambert)
    for distance in (0.5, 1.0, 4.0):
        color = single(kernel, shade.POINT, albedo=[1.0] * 3, light_vector=[0, 0, distance])
        assert np.allclose(color, 1 / (np.pi * distance**2), rtol=1e-5)


@pytest.mark.parametrize("function", [brdf.lambert, brdf.phong, brdf.blinn_phong, brdf.metallic_roughness])
def test_degenerate_points_stay_finite(backend, function):
    rows = {
        "normal": [[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]],
        "view": [[0, 0, 1], [0, 0, 0], [0, 0, -1], [1, 0, 0], [0, 0, 1], [0, 0, 1], [-1, 0, 1]],
        "light_vector": [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [-1, 0, 0], [1, 0, 1]],
    }
    n, kernel = 7, shade.shade_kernel(function)
    b, family = get_buffer(n), ints([0])
    for roughness, shininess in ((0.0, 0.0), (1.0, 1.0)):
        for kind in (shade.DIRECTIONAL, shade.POINT):
            fill(b, lit_points(n, 0) | {name: np.array(value, float) for name, value in rows.items()})
            upload(b.roughness, np.full(n, roughness))
            upload(b.shininess, np.full(n, shininess))
            color = shaded(b, n, kernel, kind)
            assert np.isfinite(color).all()
            assert (color[[0, 4, 5]] == 0).all()  # no normal, no light, light from behind
            b.clear_grads(n)
            upload(b.color.grad, np.ones((n, 3)))
            kernel.grad(b, n, family.ndarray, 0, kind)
            for name in COLUMNS:
                gradient = download(getattr(b, name).grad, n)
                assert np.isfinite(gradient).all(), name
                assert (gradient[[0, 4, 5]] == 0).all(), name


def test_kernels_leave_other_families_and_later_entries_alone(backend):
    n = 6
    b, families, material = get_buffer(n), ints([1, 0, 1]), np.array([0, 1, 2, 1, 0, 2], np.int32)
    fill(b, lit_points(n, 3))
    upload(b.material, material)
    upload(b.color, np.full((n, 3), 7.0))
    kernel = shade.shade_kernel(brdf.lambert)
    kernel(b, 5, families.ndarray, 1, shade.DIRECTIONAL)
    changed = (download(b.color, n) != 7).all(1)
    assert changed.tolist() == [True, False, True, False, True, False]


def test_factory_makes_one_kernel_per_family():
    assert shade.shade_kernel(brdf.lambert) is shade.shade_kernel(brdf.lambert)
    assert shade.shade_kernel(brdf.lambert) is not shade.shade_kernel(brdf.phong)


def test_buffer_is_kept_grown_and_dropped(f32):
    real, generation = runtime.real(), runtime.generation()
    small = buffer.interaction_buffer(real, 10, generation)
    assert small.capacity >= 1 << 16
    assert buffer.interaction_buffer(real, small.capacity, generation) is small
    grown = buffer.interaction_buffer(real, small.capacity + 1, generation)
    assert grown.capacity == 2 * small.capacity
    assert buffer.interaction_buffer(real, 10, generation) is grown
    assert buffer.interaction_buffer(real, 10, generation - 1).capacity == 1 << 16


def test_clearing_touches_the_first_entries_only(backend):
    b = get_buffer(8)
    fields = [*(getattr(b, name) for name in COLUMNS), b.position, b.color, b.uv, b.uv_dx, b.uv_dy]
    for field in fields:
        field.grad.fill(3.0)
    b.clear_grads(5)
    for field in fields:
        gradient = download(field.grad, 8)
        assert (gradient[:5] == 0).all()
        assert (gradient[5:] == 3).all()


@pytest.mark.parametrize(("column", "channels"), [("albedo", 3), ("roughness", 1)])
def test_constant_value_and_its_gradient(backend, column, channels):
    n = 5000
    rng = np.random.default_rng(1)
    b, material = get_buffer(n), rng.integers(0, 3, n).astype(np.int32)
    field, shape = getattr(b, column), (n, 3) if channels == 3 else (n,)
    value, grad, part = Buffer((1, channels)), Buffer((1, channels)), Buffer((4, 3))
    real = np.float64 if backend.precision == 64 else np.float32
    numbers = np.arange(1, channels + 1, dtype=real)[None] / 4
    value.ndarray.from_numpy(numbers)
    upload(b.material, material)
    upload(field, np.full(shape, 9.0))
    buffer.fill_constant(b, column, n, 2, value.ndarray)
    expected = np.where((material == 2)[:, None], numbers, 9.0).reshape(shape)
    assert np.array_equal(download(field, n), expected)

    upstream = rng.normal(size=shape)
    upload(field.grad, upstream)
    sums = []
    for _ in range(2):
        grad.ndarray.fill(10.0)
        buffer.fill_constant_adjoint(b, column, n, 2, grad.ndarray, part.ndarray)
        sums.append(grad.ndarray.to_numpy())
    total = 10 + upstream[material == 2].reshape(-1, channels).sum(0)
    assert np.allclose(sums[0][0], total, rtol=1e-10 if backend.precision == 64 else 1e-4)
    assert np.array_equal(*sums)
