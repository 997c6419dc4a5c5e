"""PyTorch3D's shaders: pictures against a numpy twin of its formulas, limits, and gradients of every shader."""

import functools

import numpy as np
import pytest

import tidr
from tidr import shaders

from .conftest import start
from .gradients import directional_check, tape_gradients, weighted
from .reference import pytorch3d as twin
from .reference.raster import project
from .test_raster_soft import SHORT_STEPS

WIDTH, HEIGHT, BACKGROUND = 22, 18, (0.9, 0.6, 1.0)
LIGHTS = {"location": (0.2, 0.1, 2.5)}, {"direction": (0.5, 0.8, 0.6)}
SHADERS = ("phong", "gouraud", "flat")
LOOK = {"ambient_color": 0.4, "diffuse_color": 0.5, "specular_color": 0.3, "shininess": 9.0}
SOFT = {"sigma": 3e-3, "gamma": 2e-2, "depth_range": (1.0, 8.0), "color_mode": "pytorch3d", "normals": "pytorch3d"}
SOFT |= {"edges": "soft", "channels": ("rgb",), "blur_radius": 0.01, "faces_per_pixel": 5}


def two_triangles() -> tuple[np.ndarray, np.ndarray]:
    """Two that cross, the second seen from behind."""
    vertices = [[-0.9, -0.7, 0.2], [0.8, -0.6, -0.3], [0.1, 0.9, 0.1], [-0.8, 0.5, -0.4], [0.9, 0.6, 0.3], [0, -0.8, 0]]
    return np.array(vertices), np.array([[0, 1, 2], [3, 4, 5]])


def bumpy_ball() -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = tidr.icosphere(1)
    return vertices * (1 + 0.2 * np.random.default_rng(3).normal(size=(len(vertices), 1))), faces


def scene_of(shape, light=0, **look) -> tidr.Scene:
    vertices, faces = shape
    scene = tidr.Scene(tidr.Film(WIDTH, HEIGHT, BACKGROUND))
    colors = np.random.default_rng(1).uniform(0.2, 0.9, vertices.shape)
    scene.add_node("thing", tidr.Node(tidr.Mesh(vertices, faces, colors=colors), ("paint",)))
    shaders.add_look(scene, "paint", "vertex_colors", **(LOOK | LIGHTS[light] | look))
    camera = tidr.Camera.look_at((0.4, 0.6, 3.1), (0, 0, 0), fov_y_degrees=45, width=WIDTH, height=HEIGHT)
    scene.add_camera("front", camera)
    return scene


def twin_picture(scene, shader: str, light: int, k: int, blur_radius: float, blend=None) -> np.ndarray:
    """[H, W, 4]; soft with `blend`, (sigma, gamma, near, far)."""
    camera, mesh = scene["front"], scene["thing"].mesh
    vertices, faces, colors = (np.asarray(a, float) for a in (mesh.vertices, mesh.faces, mesh.colors))
    faces = faces.astype(int)
    fragments = twin.rasterize(project(camera, vertices, WIDTH, HEIGHT), faces, WIDTH, HEIGHT, blur_radius, k)
    names = {"ambient": "ambient_color", "diffuse": "diffuse_color", "specular": "specular_color"}
    values = {name: LOOK[key] for name, key in names.items()} | {"shininess": LOOK["shininess"]}
    places = {name: np.array(place) for name, place in LIGHTS[light].items()}
    lights = twin.Lights(camera.position.numpy().astype(float), **places, **values)
    found = twin.shaded(shader, fragments, lights, vertices, faces, colors)
    if blend is None:
        return twin.hard_blend(fragments, found, BACKGROUND)
    return twin.softmax_blend(fragments, found, np.array(BACKGROUND), *blend)


def picture(scene, renderer) -> np.ndarray:
    image = tidr.render(scene, renderer=renderer)
    return np.concatenate([image.rgb.numpy(), image.alpha.numpy()], -1)


def soft(shader: str, **options) -> tidr.Rasterizer:
    return tidr.Rasterizer(shader=shader, **(SOFT | options))


@pytest.mark.row(21)
@pytest.mark.row(110)
@pytest.mark.row(134)
@pytest.mark.row(135)
@pytest.mark.row(136)
@pytest.mark.row(139)
def test_every_shader_equals_its_twin(f64):
    hard = {"phong": shaders.hard_phong(), "gouraud": shaders.hard_gouraud(), "flat": shaders.hard_flat()}
    for shape, light in ((two_triangles(), 0), (bumpy_ball(), 1)):
        scene = scene_of(shape, light)
        for shader in SHADERS:
            sharp, expected = picture(scene, hard[shader]), twin_picture(scene, shader, light, 1, 0.0)
            np.testing.assert_allclose(sharp, expected, atol=1e-9, err_msg=shader)
            blurred = twin_picture(scene, shader, light, 5, 0.01, (3e-3, 2e-2, 1.0, 8.0))
            np.testing.assert_allclose(picture(scene, soft(shader)), blurred, atol=1e-9, err_msg=shader)
            assert np.abs(blurred - expected).max() > 0.05


@pytest.mark.row(21)
@pytest.mark.row(134)
@pytest.mark.row(135)
def test_the_published_settings_equal_the_twin(f64):
    scene, settings = scene_of(bumpy_ball()), {"blur_radius": 1e-3, "faces_per_pixel": 4}
    for shader, renderer in (("phong", shaders.soft_phong), ("gouraud", shaders.soft_gouraud)):
        blurred = twin_picture(scene, shader, 0, 4, 1e-3, (1e-4, 1e-4, 1.0, 100.0))
        # the largest exponents are near 1e4, so 1e-16 of a depth is 1e-12 here
        np.testing.assert_allclose(picture(scene, renderer(**settings)), blurred, atol=1e-9)


@pytest.mark.row(21)
def test_the_background_shines_through_where_all_triangles_are_faint(f64):
    # Far outside, D is about 1e-9: the background's least weight, 1e-10, then counts.
    scene, options = scene_of(two_triangles()), {"sigma": 1e-2 / np.log(1e9), "gamma": 1e-3}
    expected = twin_picture(scene, "phong", 0, 5, 0.01, (options["sigma"], 1e-3, 1.0, 8.0))
    np.testing.assert_allclose(picture(scene, soft("phong", **options)), expected, atol=1e-9)
    floorless = picture(scene, soft("phong", **options, **{"color_mode": "softmax"}))
    assert np.abs(floorless - expected).max() > 1e-2


@pytest.mark.row(137)
def test_soft_silhouette(f64):
    scene, sigma = scene_of(bumpy_ball()), 1e-3
    radius = np.log(1 / 1e-4 - 1) * sigma
    alpha = tidr.render(scene, renderer=shaders.soft_silhouette(sigma, radius, 50)).alpha.numpy()
    expected = twin_picture(scene, "phong", 0, 50, radius, (sigma, 1e-4))[..., 3:]
    np.testing.assert_allclose(alpha, expected, atol=1e-9)
    assert ((alpha > 0.01) & (alpha < 0.9)).sum() > 20


@pytest.mark.row(134)
@pytest.mark.row(135)
def test_soft_becomes_hard_and_more_faces_than_overlaps_change_nothing(f64):
    scene = scene_of(bumpy_ball())
    for shader, hard in (("phong", shaders.hard_phong()), ("gouraud", shaders.hard_gouraud())):
        sharp = tidr.render(scene, renderer=soft(shader, sigma=1e-10, gamma=1e-8, blur_radius=0.0))
        # the nearest triangle of a pixel is another just where the outline passes through the pixel's centre
        np.testing.assert_allclose(sharp.rgb.numpy(), tidr.render(scene, renderer=hard).rgb.numpy(), atol=1e-6)
    few, many, most = (picture(scene, soft("phong", faces_per_pixel=k)) for k in (2, 60, 80))
    np.testing.assert_array_equal(many, most)
    assert np.abs(few - many).max() > 1e-3


@pytest.mark.row(135)
@pytest.mark.row(136)
def test_gouraud_is_the_lit_vertex_and_flat_is_one_colour(f64):
    # A triangle whose first corner lies on the centre of a pixel: its colour there is the corner's, lit.
    scene = tidr.Scene(tidr.Film(16, 16))
    mesh = tidr.Mesh([[-1.5, 1.5, 0], [-1.5, -1.7, 0], [1.8, 1.4, 0]], [[0, 1, 2]], colors=np.eye(3) * 0.7 + 0.2)
    scene.add_node("thing", tidr.Node(mesh, ("paint",)))
    shaders.add_look(scene, "paint", "vertex_colors", location=(-0.5, 0.5, 1.0))
    scene.add_material("plain", tidr.Material("pytorch3d", albedo=0.6, specular=0.5, shininess=20.0))
    eye = np.array([0.0, 0.0, 4.0])
    scene.add_camera("front", tidr.Camera.look_at(eye, (0, 0, 0), width=16, height=16, height_world=4.0))
    lights = twin.Lights(scene["front"].position.numpy().astype(float), np.array([-0.5, 0.5, 1.0]))
    rgb = tidr.render(scene, renderer=shaders.hard_gouraud()).rgb.numpy()
    corner = np.array([[-1.5, 1.5, 0.0]])
    # eyes of an orthographic camera are infinitely far away
    lights.eye = corner + np.array([0, 0, 1e9])
    row, column = (np.array([2.0, 2.0]) - [1.5, 1.5]) * 4
    assert (row, column) == (2.0, 2.0)
    inner = rgb[2, 2] - 0.5 * (rgb[2, 3] - rgb[2, 2]) - 0.5 * (rgb[3, 2] - rgb[2, 2])
    np.testing.assert_allclose(
        inner, lights.lit(corner, np.array([[0.0, 0, 1]]), mesh.colors.numpy()[:1])[0], rtol=1e-6
    )
    scene["thing"].materials = ("plain",)
    flat = tidr.render(scene, renderer=shaders.hard_flat()).rgb.numpy()
    seen = flat[flat.any(-1)]
    assert len(seen) > 50
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], seen.shape), rtol=1e-12)


def parameters(scene) -> list:
    mesh, light = scene["thing"].mesh, scene["paint_light"]
    values = list(light.parameters().values())[:2]
    return [mesh.vertices, mesh.colors, *values, scene["paint"].sources["shininess"], scene["front"].position]


@pytest.mark.row(21)
@pytest.mark.row(134)
@pytest.mark.row(135)
@pytest.mark.row(136)
def test_gradients_of_every_shader(f64):
    weights = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3))
    for light, shape in ((0, two_triangles()), (1, bumpy_ball())):
        scene = scene_of(shape, light)
        for shader in SHADERS:
            for edges in ("none", "soft"):
                renderer = soft(shader, edges=edges)
                directional_check(
                    lambda r=renderer, s=scene: weighted(tidr.render(s, renderer=r).rgb, weights),
                    parameters(scene), SHORT_STEPS,
                )  # fmt: skip
    in_64_bits()


def gradients() -> list[np.ndarray]:
    """Of the picture with soft edges, by Gouraud's shader and the flat one."""
    weights, scene = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)), scene_of(two_triangles())
    found = []
    for renderer in (soft("gouraud"), soft("flat")):
        found += tape_gradients(
            lambda r=renderer: weighted(tidr.render(scene, renderer=r).rgb, weights), parameters(scene)
        )
    return found


@functools.cache
def in_64_bits() -> list[np.ndarray]:
    start("cpu", 64)
    return gradients()


def test_gradients_on_vulkan_are_those_in_64_bits(vulkan):
    expected = in_64_bits()
    start(vulkan.arch, vulkan.precision)
    for exact, single in zip(expected, gradients(), strict=True):
        assert np.linalg.norm(single - exact) <= vulkan.rtol * np.linalg.norm(exact)


def test_bad_settings_are_named():
    with pytest.raises(tidr.SceneError, match=r"renderer\.shader"):
        tidr.Rasterizer(shader="toon")
    with pytest.raises(tidr.SceneError, match="blur_radius"):
        shaders.soft_phong(blur_radius=-1.0)
    scene = tidr.Scene()
    with pytest.raises(tidr.SceneError, match="location and direction"):
        shaders.add_look(scene, "paint", location=(0, 1, 0), direction=(0, 1, 0))
    with pytest.raises(tidr.SceneError, match="specular_color"):
        shaders.add_look(scene, "paint", diffuse_color=(0.3, 0.3, 0.0))


def test_light_that_does_not_fall_is_refused_by_renderers_that_follow_light(f64):
    scene = scene_of(two_triangles())
    scene.materials["paint"] = tidr.Material("lambert")
    with pytest.raises(tidr.SceneError, match=r"lights\.paint_light.*does not fall"):
        tidr.render(scene, renderer=tidr.PathTracer(samples=1))


def test_gouraud_refuses_what_needs_pixels_and_draws_nothing_of_nothing(f64):
    scene = scene_of(two_triangles())
    scene.materials["paint"] = tidr.Material(
        "lambert", albedo=tidr.Texture(np.full((2, 2, 3), 0.5), filter="trilinear")
    )
    with pytest.raises(tidr.SceneError, match=r"gouraud.*no pixels"):
        tidr.render(scene, renderer=shaders.hard_gouraud())
    empty = tidr.Scene(tidr.Film(WIDTH, HEIGHT, BACKGROUND))
    for renderer in (shaders.hard_gouraud(), shaders.soft_gouraud(blur_radius=1e-3)):
        drawn = tidr.render(empty, scene["front"], renderer).rgb.numpy()
        np.testing.assert_allclose(drawn, np.broadcast_to(BACKGROUND, drawn.shape))


def test_scene_files_keep_the_look(tmp_path, f64):
    scene = scene_of(two_triangles())
    tidr.write_scene(scene, tmp_path / "scene.toml")
    read = tidr.load(tmp_path / "scene.toml")
    assert not read["paint_light"].attenuated
    assert read["paint"].type == "pytorch3d"
    renderer = shaders.soft_gouraud(blur_radius=1e-3)
    np.testing.assert_allclose(picture(read, renderer), picture(scene, renderer), atol=1e-6)


@pytest.mark.row(21)
def test_two_views_are_those_of_one_each(f64):
    scene = scene_of(bumpy_ball())
    other = tidr.Camera.look_at((-2.0, 0.3, 2.4), (0, 0, 0), fov_y_degrees=45, width=WIDTH, height=HEIGHT)
    both = tidr.render(scene, [scene["front"], other], soft("gouraud")).rgb.numpy()
    for view, camera in enumerate((scene["front"], other)):
        np.testing.assert_array_equal(both[view], tidr.render(scene, camera, soft("gouraud")).rgb.numpy())
