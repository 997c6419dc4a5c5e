"""Light as spherical harmonics: closed forms of methods A10, least squares, scene files."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.scene.harmonics import basis, texel_directions

SIZE, DRAWER = 12, tidr.Rasterizer(edges="none")


def ball(light, **material) -> tidr.Scene:
    """A smooth sphere that fills the picture of the camera "front"."""
    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    vertices, faces = tidr.icosphere(2)
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices, faces, shading="smooth"), ("paint",)))
    scene.add_material("paint", tidr.Material(**({"type": "lambert", "albedo": 1.0} | material)))
    scene.add_light("sky", light)
    view = {"fov_y_degrees": 26, "width": SIZE, "height": SIZE}
    scene.add_camera("front", tidr.Camera.look_at((0.6, 0.8, 2.9), (0, 0, 0), **view))
    return scene


def drawn(scene: tidr.Scene) -> tuple[np.ndarray, np.ndarray]:
    """([n, 3] colours, [n, 3] normals) of a picture."""
    image = tidr.render(scene, "front", DRAWER)
    return image.rgb.numpy().reshape(-1, 3), image.channel("normal").numpy().reshape(-1, 3)


def some(terms: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(terms, 3))


@pytest.mark.row(112, 145)
def test_even_radiance_gives_pi_times_it_to_every_normal(f64):
    colors, _ = drawn(ball(tidr.SphericalHarmonicLight([[2 * np.pi**0.5 * level for level in (1, 2, 0.5)]])))
    assert np.allclose(colors * np.pi, np.pi * np.array([1, 2, 0.5]), rtol=1e-12)


@pytest.mark.row(112)
def test_a_unit_directional_light_of_order_two_gives_17_16(f64):
    scene = ball(tidr.SphericalHarmonicLight(np.zeros((9, 3))))
    normal = drawn(scene)[1][SIZE * SIZE // 2]
    scene["sky"].coefficients.set(np.repeat(basis(normal[None], 2).T, 3, 1))
    assert np.allclose(drawn(scene)[0][SIZE * SIZE // 2] * np.pi, 17 / 16, rtol=1e-12)


@pytest.mark.row(23, 112, 142)
def test_surfaces_receive_each_order_by_its_factor_and_nothing_of_order_three(f64):
    scene = ball(tidr.SphericalHarmonicLight(some(16)), albedo=(0.2, 0.5, 0.8))
    colors, normals = drawn(scene)
    factors = np.repeat([1, 2 / 3, 1 / 4], [1, 3, 5])[:, None]
    assert np.allclose(colors, (0.2, 0.5, 0.8) * (basis(normals, 2) @ (factors * some(16)[:9])), atol=1e-12)
    scene.lights["sky"] = tidr.SphericalHarmonicLight(some(16)[:4])
    assert np.allclose(drawn(scene)[0], (0.2, 0.5, 0.8) * (basis(normals, 1) @ (factors[:4] * some(16)[:4])))


def test_the_basis_is_orthonormal():
    directions, solid_angles = texel_directions(200, 400)
    products = basis(directions, 3).T @ (basis(directions, 3) * solid_angles[:, None])
    assert solid_angles.sum() == pytest.approx(4 * np.pi)
    assert np.allclose(products, np.eye(16), atol=2e-4)


@pytest.mark.row(142)
def test_least_squares_recover_a_light_exactly(f64):
    directions, coefficients = np.random.default_rng(1).normal(size=(40, 3)), some(16, 1)
    light = tidr.SphericalHarmonicLight(coefficients)
    fitted = tidr.SphericalHarmonicLight.fit(directions, light.radiance(directions), 3)
    assert np.allclose(fitted.coefficients.numpy(), coefficients, atol=1e-10)
    # From a picture: a white surface's colours are what its normals receive, over pi.
    colors, normals = drawn(ball(light))
    around = tidr.SphericalHarmonicLight.fit(normals, np.pi * colors, 2, irradiance=True)
    assert np.allclose(around.coefficients.numpy(), coefficients[:9], atol=1e-8)
    # From an environment, which may be turned.
    low = np.r_[[[4.0] * 3], 0.2 * some(9, 2)[1:]]
    still = tidr.SphericalHarmonicLight(low).environment(12)
    assert np.allclose(tidr.SphericalHarmonicLight.of_environment(still).coefficients.numpy(), low, atol=1e-10)
    turned = tidr.EnvironmentLight(still.radiance.numpy(), 0.7)
    c, s = np.cos(0.7), np.sin(0.7)
    back = directions @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    found = tidr.SphericalHarmonicLight.of_environment(turned).radiance(directions)
    assert np.allclose(found, tidr.SphericalHarmonicLight(low).radiance(back), atol=1e-10)
    even = tidr.SphericalHarmonicLight.of_environment(tidr.EnvironmentLight((1.0, 2.0, 3.0)))
    assert np.allclose(even.radiance(directions), (1, 2, 3))


def test_scene_files_hold_it(f64, tmp_path):
    scene = ball(tidr.SphericalHarmonicLight(some(4)))
    tidr.write_scene(scene, tmp_path / "scene.toml")
    read = tidr.load(tmp_path / "scene.toml")
    assert np.allclose(read["sky"].coefficients.numpy(), some(4), atol=1e-6)
    text = (tmp_path / "scene.toml").read_text()
    start, end = text.index("coefficients"), text.index("]\n", text.index("coefficients"))
    (tmp_path / "scene.toml").write_text(text[:start] + "coefficients = [[1, 1, 1], [0, 0, 0]]" + text[end + 1 :])
    with pytest.raises(tidr.FileError, match="expected 1, 4, 9 or 16 rows"):
        tidr.load(tmp_path / "scene.toml")


def test_what_does_not_fit_is_named(f64):
    fit = tidr.SphericalHarmonicLight.fit
    for make, expected in (
        (lambda: tidr.SphericalHarmonicLight(np.zeros((5, 3))), r"shape \(5, 3\)"),
        (lambda: tidr.SphericalHarmonicLight(np.full((4, 3), np.nan)), "not finite"),
        (lambda: fit(np.eye(3), np.ones(3)), "3 samples leave some of 9"),
        (lambda: fit(np.eye(3), np.ones((4, 3))), "do not fit together"),
        (lambda: fit(np.zeros((9, 3)), np.ones(9)), "length 0"),
        (lambda: fit(np.eye(3), np.ones(3), 3, irradiance=True), "order is 3"),
        (lambda: tidr.render(ball(tidr.SphericalHarmonicLight(some(4))), "front", "path"), "lights.sky: is spherical"),
    ):
        with pytest.raises(SceneError, match=expected):
            make()
