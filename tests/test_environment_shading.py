"""Surfaces lit by environments in the rasterizer: blurred maps, split sum, normal maps, gradients, and a joint fit."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.fitting.views import behind
from tidr.kernels.shading.brdf_table import COSINES, ROUGHNESSES, brdf_table, reflected_shares
from tidr.problems.runner import problems, solve
from tidr.renderers.environment_light import chain_of
from tidr.scene.harmonics import look_up_cube, texel_directions

from .gradients import directional_check, tape_gradients, weighted
from .test_environment import looked_up
from .test_sh_light import DRAWER, SIZE, ball, drawn


def sky(seed: int = 0, shape=(6, 9), rotation: float = 0.4) -> tidr.EnvironmentLight:
    return tidr.EnvironmentLight(np.random.default_rng(seed).uniform(0.1, 2.0, (*shape, 3)), rotation)


def smooth(height: int = 64) -> tidr.EnvironmentLight:
    """A map of broad lights."""
    rows = np.random.default_rng(5).normal(size=(9, 3)) * 0.3
    rows[0] += 4
    return tidr.SphericalHarmonicLight(rows).environment(height)


def lobe_mean(light: tidr.EnvironmentLight, axes: np.ndarray, alpha: float) -> np.ndarray:
    """[n, 3] mean radiance around axes [n, 3]: by the cosine, or the GGX density times it where alpha is above 0."""
    directions, solid_angles = texel_directions(90, 180)
    cosine = np.maximum(axes @ directions.T, 0)
    density = 1.0
    if alpha > 0:
        half = (1 + cosine) / 2  # squared cosine between the axis and the facet
        density = alpha**2 / (np.pi * (half * (alpha**2 - 1) + 1) ** 2)
    weights = cosine * density * solid_angles
    seen = looked_up(light.radiance.numpy(), directions, float(light.rotation.numpy()))
    return weights @ seen / weights.sum(1, keepdims=True)


# What surfaces receive and reflect.


@pytest.mark.row(100, 145)
@pytest.mark.parametrize("shape", [(), (1, 1), (3, 5), (33, 64)])
def test_a_constant_environment_is_reflected_as_ambient_light_is(f64, shape):
    light = tidr.EnvironmentLight(np.full((*shape, 3), (1.0, 2.0, 3.0)), 0.3)
    colors, _ = drawn(ball(light, albedo=(0.2, 0.4, 0.6)))
    assert np.allclose(colors, (0.2, 0.8, 1.8), rtol=1e-12)


def test_a_white_metal_sends_back_what_a_furnace_of_its_roughness_does():
    """The shares are those of the BRDF summed up in test_shading.py."""
    shares = reflected_shares(np.full(3, np.cos(0.5)), [0.4, 0.7, 1.0]).sum(1)
    assert shares == pytest.approx([0.9625, 0.6930, 0.3325], abs=1.5e-3)


@pytest.mark.row(100, 146)
def test_diffuse_light_is_the_mean_by_the_cosine(f64):
    light = sky(1, (16, 32))
    colors, normals = (array[::7] for array in drawn(ball(light)))
    assert np.abs(colors - lobe_mean(light, normals, 0.0)).max() < 4e-3 * colors.max()


@pytest.mark.row(100, 146)
def test_highlights_are_the_mean_by_the_lobe_times_the_split_sum(f64):
    scene = ball(smooth(), type="metallic_roughness", metallic=1.0, roughness=0.1, albedo=(0.9, 0.6, 0.3))
    scene["front"].position.set(300 * scene["front"].position.numpy())
    scene["front"].focal.set(300 * scene["front"].focal.numpy())
    view = scene["front"].camera_to_world[:3, 3] / np.linalg.norm(scene["front"].camera_to_world[:3, 3])
    for roughness in (0.1, 0.3, 0.387, 0.6, 1.0):
        scene["paint"].sources["roughness"].set(roughness)
        colors, normals = (array[::7] for array in drawn(scene))
        cosine = normals @ view
        shares = reflected_shares(cosine, np.full(len(cosine), roughness))
        light = lobe_mean(scene["sky"], 2 * cosine[:, None] * normals - view, roughness**2)
        assert np.abs(colors / (light * (shares[:, :1] * (0.9, 0.6, 0.3) + shares[:, 1:])) - 1).max() < 5e-3


def test_the_table_is_fine_enough():
    rng = np.random.default_rng(6)
    cosine, roughness = rng.uniform(0.05, 1, 200), rng.uniform(0.08, 1, 200)
    x, y = cosine * (COSINES - 1), (roughness - 0.08) / 0.92 * (ROUGHNESSES - 1)
    table = brdf_table().reshape(ROUGHNESSES, COSINES, 2)
    i, j = x.astype(int), y.astype(int)
    u, v = (x - i)[:, None], (y - j)[:, None]
    low, high = (table[k, i] + u * (table[k, i + 1] - table[k, i]) for k in (j, j + 1))
    assert np.abs(low + v * (high - low) - reflected_shares(cosine, roughness)).max() < 6e-3


@pytest.mark.row(100)
def test_a_cube_map_looks_as_its_faces_say(f64):
    faces = np.zeros((6, 8, 8, 3))
    colors = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)], float)
    faces[:] = colors[:, None, None]
    axes = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    light = tidr.EnvironmentLight.of_cube(faces)
    assert light.radiance.shape == (16, 32, 3)
    assert np.allclose(looked_up(light.radiance.numpy(), axes + 0.01, 0.0), colors)
    # A function of direction, drawn on the faces by OpenGL's rule, comes back.
    s, t = np.meshgrid(*[(np.arange(32) + 0.5) / 16 - 1] * 2)
    one = np.ones_like(s)
    towards = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    d = np.stack([np.stack(face, -1) for face in towards])
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    seen = look_up_cube(1 + 0.5 * d, texel_directions(20, 40)[0])
    assert np.abs(seen - (1 + 0.5 * texel_directions(20, 40)[0])).max() < 8e-3  # faces' edges are clamped
    with pytest.raises(SceneError, match=r"shape \(6, 8, 4, 3\)"):
        tidr.EnvironmentLight.of_cube(np.ones((6, 8, 4, 3)))


def test_a_hidden_environment_still_lights(f64):
    scene = ball(sky())
    scene["front"].focal.set(0.5 * scene["front"].focal.numpy())
    shown = tidr.render(scene, "front", DRAWER)
    with behind(scene, (1.0, 0.0, 0.0), hide_environment=True):
        hidden = tidr.render(scene, "front", DRAWER).rgb.numpy()
    alpha = shown.alpha.numpy()[..., 0] == 1
    assert np.array_equal(hidden[alpha], shown.rgb.numpy()[alpha])
    assert np.allclose(hidden[~alpha], (1, 0, 0))


def test_maps_are_blurred_again_only_when_radiance_has_changed(f64):
    light = sky()
    first = chain_of(light, True)
    light.rotation.set(1.0)
    assert chain_of(light, True) is first
    light.radiance.set(2 * light.radiance.numpy())
    doubled = chain_of(light, True)
    assert np.allclose(doubled.values.ndarray.to_numpy(), 2 * first.values.ndarray.to_numpy())


# Gradients.


def problem(shape=(6, 9), roughness=0.7, seed: int = 0, paths=("sky.*", "haze.*", "paint.*")):
    metal = {"type": "metallic_roughness", "albedo": (0.3, 0.5, 0.8), "metallic": 0.6, "roughness": roughness}
    scene = ball(sky(seed, shape), **metal)
    harmonics = np.random.default_rng(seed).normal(size=(16, 3))
    scene.add_light("haze", tidr.SphericalHarmonicLight(harmonics))
    weights = np.random.default_rng(seed).normal(size=(SIZE, SIZE, 3))
    arrays = list(scene.parameters(*paths).values())
    return lambda: weighted(tidr.render(scene, "front", DRAWER).rgb, weights), arrays


@pytest.fixture
def in_64_bits(f64) -> list[np.ndarray]:
    return tape_gradients(*problem())


@pytest.mark.row(100, 112)
@pytest.mark.parametrize(("shape", "roughness"), [((6, 9), 0.7), ((40, 80), 0.12)])
def test_gradients_to_texels_rotation_material_and_geometry(f64, shape, roughness):
    paths = ("sky.*", "haze.*", "paint.*", "ball.vertices", "front.position")
    gradients = directional_check(*problem(shape, roughness, 2, paths), f64, 2)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients)
    assert not gradients[2][9:].any()  # what order 3 adds to a surface's light


def test_gradients_on_vulkan_are_those_in_64_bits(in_64_bits, vulkan):
    for exact, single in zip(in_64_bits, tape_gradients(*problem()), strict=True):
        assert np.linalg.norm(single - exact) <= vulkan.rtol * np.linalg.norm(exact)


# Normal maps.


def wall(normals, lamp=(0.0, 0.0, -1.0), camera=(0.2, 0.3, 3.0)) -> tidr.Scene:
    """A square that faces +Z under light that travels along `lamp`; its uvs are turned by a quarter."""
    scene = tidr.Scene(tidr.Film(6, 6))
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], float)
    uvs, faces = np.array([(1, 0), (1, 1), (0, 1), (0, 0)], float), np.array([(0, 1, 2), (0, 2, 3)])
    scene.add_node("wall", tidr.Node(tidr.Mesh(corners, faces, uvs=uvs, uv_faces=faces), ("plaster",)))
    texture = tidr.Texture((np.asarray(normals) + 1) / 2, wrap="clamp")
    scene.add_material("plaster", tidr.Material("lambert", albedo=0.8, normal=texture))
    scene.add_light("lamp", tidr.DirectionalLight(lamp, np.pi))
    scene.add_camera("front", tidr.Camera.look_at(camera, (0, 0, 0), fov_y_degrees=25, width=6, height=6))
    return scene


@pytest.mark.row(114)
def test_a_normal_map_bends_normals_in_the_tangent_frame(f64):
    """Here u grows along -Y and v along +X, so (x, y, z) of the map is the normal (y, -x, z), from either side."""
    bent, lamp = np.array([0.48, 0.6, 0.64]), np.array([-0.36, 0.48, -0.8])
    color = tidr.render(wall(np.full((2, 2, 3), bent), lamp), "front", DRAWER).rgb.numpy()
    assert np.allclose(color, 0.8 * max(-lamp @ (bent[1], -bent[0], bent[2]), 0), rtol=1e-9)
    flat = tidr.render(wall(np.full((2, 2, 3), (0, 0, 1.0)), lamp), "front", DRAWER).rgb.numpy()
    assert np.allclose(flat, 0.8 * 0.8, rtol=1e-12)
    behind = wall(np.full((2, 2, 3), bent), -lamp, (0.2, 0.3, -3.0))
    assert np.allclose(tidr.render(behind, "front", DRAWER).rgb.numpy(), color, rtol=1e-9)


def bumps():
    rng = np.random.default_rng(8)
    normals = np.concatenate([rng.uniform(-0.4, 0.4, (3, 4, 2)), np.full((3, 4, 1), 0.8)], -1)
    scene = wall(normals, (-0.3, -0.4, -1.0))
    scene["wall"].vertices.set(scene["wall"].vertices.numpy() + rng.uniform(-0.2, 0.2, (4, 3)))
    weights = rng.normal(size=(6, 6, 3))
    arrays = list(scene.parameters("plaster.*", "wall.vertices", "wall.uvs", "lamp.*").values())
    return lambda: weighted(tidr.render(scene, "front", DRAWER).rgb, weights), arrays


@pytest.mark.row(114)
def test_gradients_to_a_normal_map_and_its_frame(f64):
    gradients = directional_check(*bumps(), f64, 8)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients[:4])


# Fits.


@pytest.mark.long
@pytest.mark.row(100, 142, 146)
@pytest.mark.parametrize("problem", problems(["T12"]), ids=lambda problem: problem.name)
def test_light_from_all_around_is_found_from_pictures(f32, problem):
    result = solve(problem, "antialias")
    assert result.solved, result


@pytest.mark.long
@pytest.mark.row(86)
def test_shape_material_and_light_are_found_from_pictures(f32):
    """As nvdiffrec: pictures with a mask, from all around, of an ellipsoid with a painted metal skin under a sky."""
    truth, scene = joint(True), joint(False)
    cameras, held = tidr.sphere_views(12, 3.0, fov_y_degrees=45, width=40, height=40), (4, 9)
    drawer = tidr.Rasterizer(edges="antialias")

    def seen(scene, cameras):
        with behind(scene, (0.0, 0.0, 0.0), hide_environment=True):
            return tidr.render(scene, cameras, drawer)

    test, train = ([camera for k, camera in enumerate(cameras) if (k in held) is kept] for kept in (True, False))
    expected = seen(truth, test).rgb.numpy()
    batches = [(train[k::2], seen(truth, train[k::2])) for k in range(2)]
    start = psnr(seen(scene, test).rgb.numpy(), expected)
    optimizer = tidr.Optimizers(
        [
            tidr.LargeSteps(scene["thing"].geometry, lr=0.1, lam=10.0),
            tidr.Adam(scene.parameters("skin.*"), lr=2e-2),
            tidr.Adam(scene.parameters("sky.radiance"), lr=2e-2),
        ]
    )
    for step in range(150):
        views, picture = batches[step % 2]
        with tidr.Tape(scene.parameters("thing.vertices", "skin.*", "sky.radiance")) as tape:
            image = seen(scene, views)
            tape.add(tidr.losses.mse(image.rgb, picture.rgb))
            tape.add(tidr.losses.mse(image.alpha, picture.alpha))
        optimizer.step()
    found = seen(scene, test).rgb.numpy()
    assert start < 15
    assert min(psnr(one, other) for one, other in zip(found, expected, strict=True)) >= 28


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((np.clip(a, 0, 1) - np.clip(b, 0, 1)) ** 2).mean()))


def joint(truth: bool) -> tidr.Scene:
    rng = np.random.default_rng(3)
    scene = tidr.Scene(tidr.Film(40, 40))
    vertices, faces = tidr.icosphere(2)
    uvs = np.stack([np.arctan2(vertices[:, 0], vertices[:, 2]) / (2 * np.pi) + 0.5, vertices[:, 1] / 2 + 0.5], -1)
    shape = (1.0, 0.75, 0.9) if truth else (0.8, 0.8, 0.8)
    mesh = tidr.Mesh(vertices * shape, faces, uvs=uvs, uv_faces=faces, shading="smooth")
    scene.add_node("thing", tidr.Node(mesh, ("skin",)))
    albedo = np.kron(rng.uniform(0.1, 0.9, (4, 4, 3)), np.ones((4, 4, 1))) if truth else np.full((16, 16, 3), 0.5)
    rough, metal = (0.35, 0.6) if truth else (0.6, 0.3)
    scene.add_material(
        "skin", tidr.Material("metallic_roughness", albedo=tidr.Texture(albedo), roughness=rough, metallic=metal)
    )
    lights = np.random.default_rng(4).normal(size=(9, 3)) * 0.5 + np.eye(9)[:, :1] * 3
    light = tidr.SphericalHarmonicLight(lights).environment(16)
    scene.add_light("sky", light if truth else tidr.EnvironmentLight(np.full((16, 32, 3), 0.6)))
    return scene
