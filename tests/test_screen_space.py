"""Reflections and light under surfaces, from what the camera sees: their formulas and gradients."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.kernels.raster import reflection

from .conftest import start
from .gradients import directional_check, tape_gradients, weighted
from .test_shadow_maps import Fine

WEIGHTS = np.random.default_rng(5).normal(size=(20, 20, 3))
PATHS = ("skin.albedo", "steel.*", "ball.vertices", "front.position", "sun.direction", "sun.irradiance", "sky.radiance")
in_f64: list = []


def room(size: int = 20, roughness: float = 0.2) -> tidr.Scene:
    """A bumpy ball above a steel floor."""
    rng, scene = np.random.default_rng(2), tidr.Scene(tidr.Film(size, size))
    vertices, faces = tidr.icosphere(1)
    ball = tidr.Mesh(0.5 * vertices * rng.uniform(0.9, 1.1, (len(vertices), 1)), faces, shading="smooth")
    scene.add_node("ball", tidr.Node(ball, ("skin",), None, (0.03, 0.52, -0.05)))
    floor = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 1], [1, 0, -1]]) * 1.6
    scene.add_node("floor", tidr.Node(tidr.Mesh(floor, [[0, 1, 2], [0, 2, 3]], shading="flat"), ("steel",)))
    scene.add_material("skin", tidr.Material("lambert", albedo=(0.8, 0.5, 0.3)))
    steel = tidr.Material("metallic_roughness", albedo=(0.6, 0.7, 0.8), metallic=0.7, roughness=roughness)
    scene.add_material("steel", steel)
    scene.add_light("sky", tidr.AmbientLight((0.2, 0.3, 0.3)))
    scene.add_light("sun", tidr.DirectionalLight((-0.6, -1, -0.3), (2.0, 1.8, 1.5)))
    camera = tidr.Camera.look_at((0.2, 1.0, 2.3), (0, 0.25, 0), fov_y_degrees=45, width=size, height=size)
    scene.add_camera("front", camera)
    return scene


def shown(scene: tidr.Scene, **options) -> np.ndarray:
    return np.asarray(tidr.render(scene, renderer=tidr.Rasterizer(edges="none", channels=("rgb",), **options)).rgb)


@pytest.mark.row(28)
def test_a_mirror_shows_what_stands_on_it(f64):
    """The ball that a camera below the floor would see, mirrored, as far as the one above sees those parts of it."""
    scene, size = room(60, roughness=0.0), 60
    scene["sun"].irradiance.set(0.0)  # what is left makes the ball of one colour
    added = shown(scene, reflections=3.0) - shown(scene)
    faces = len(scene["ball"].faces)
    ids = tidr.render(scene, renderer=tidr.Rasterizer(edges="none", channels=("ids",))).ids
    assert (added[(ids < faces)] == 0).all()
    below = scene.cameras["front"].position.numpy() * (1, -1, 1)
    camera = tidr.Camera.look_at(below, (0, -0.25, 0), (0, -1, 0), fov_y_degrees=45, width=size, height=size)
    del scene.nodes["floor"]
    mirrored = np.flip(tidr.render(scene, camera, tidr.Rasterizer(edges="none", channels=("ids",))).ids >= 0, 1)
    found = added[..., 0] > 0
    assert (found & ~mirrored).sum() <= 0.03 * found.sum()
    assert found.sum() > 0.6 * (mirrored & (ids >= faces)).sum()
    share = added[found] / (np.array([0.8, 0.5, 0.3]) * (0.2, 0.3, 0.3))
    base = 0.04 + 0.7 * (np.array([0.6, 0.7, 0.8]) - 0.04)
    assert (share <= base + (1 - base) * 0.25).mean() > 0.85  # but at its rim, where colours of the floor are mixed in
    assert np.allclose(np.median(share, 0) / np.median(share), base / base[1], atol=0.1)


@pytest.mark.row(28)
def test_reflections_fade_with_roughness_and_end_at_their_distance(f64):
    sums = [
        (shown(scene, reflections=distance) - shown(scene)).sum()
        for scene, distance in ((room(), 2.0), (room(roughness=0.6), 2.0), (room(roughness=1.0), 2.0), (room(), 0.7))
    ]
    assert sums[0] > 3 * sums[1] > 0
    assert sums[2] == 0
    assert 0 < sums[3] < 0.5 * sums[0]


@pytest.mark.row(28)
def test_light_under_a_surface_is_the_mean_that_the_formula_says(f64):
    """A wall half dark, half bright: the step becomes two Gaussians' integrals, by each channel's width."""
    size, widths = 61, np.array([0.1, 0.05, 0.0])
    scene = tidr.Scene(tidr.Film(size, size))
    x = np.array([-2, 0, 0, 2.0])
    corners = np.stack([np.tile(x, 2), np.repeat([-2, 2.0], 4), np.zeros(8)], 1)
    colors = np.tile([0, 0, 1, 1.0], 2)[:, None] * np.ones(3)
    quads = [[0, 1, 5, 4], [2, 3, 7, 6]]
    scene.add_node("wall", tidr.Node(tidr.Mesh(corners, quads, colors=colors), ("skin",)))
    scene.add_material("skin", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    camera = tidr.Camera.look_at((0, 0, 3), (0, 0, 0), height_world=1.0, width=size, height=size)
    scene.add_camera("front", camera)
    found, plain = shown(scene, subsurface={"skin": tuple(widths)}).mean(0), shown(scene).mean(0)
    assert (found[:, 2] == plain[:, 2]).all()
    place = (np.arange(size) + 0.5) / size - 0.5
    for c in (0, 1):
        inside, r = np.abs(place) < 0.5 - 3 * widths.max(), (place[:, None] - place) / widths[c]
        across = np.exp(-2 * r**2) + np.exp(-(r**2) / 2) / 2  # the profile, summed along the step
        expected = across @ plain[:, c] / across.sum(1)
        off = np.abs(found[inside, c] - expected[inside])
        assert off.max() < 0.06
        assert off.mean() < 0.015


def check_gradients(backend, monkeypatch):
    """Of both effects at once, while the rays end where they ended first, which is not differentiated."""
    march, real = reflection.march, np.float64 if backend.precision == 64 else np.float32

    def held(*arguments) -> None:
        if not in_f64:
            march(*arguments)
            in_f64.extend(each.to_numpy() for each in arguments[-2:])
        arguments[-2].from_numpy(in_f64[0])
        arguments[-1].from_numpy(in_f64[1].astype(real))

    monkeypatch.setattr(reflection, "march", held)
    scene, width = room(), tidr.Parameter(np.array([0.11, 0.06, 0.03]))
    renderer = tidr.Rasterizer(edges="none", channels=("rgb",), subsurface={"skin": width}, reflections=2.0)
    arrays = [width, *scene.parameters(*PATHS).values()]

    def loss():
        return weighted(tidr.render(scene, renderer=renderer).rgb, WEIGHTS)

    if backend.precision == 64:
        in_f64[2:] = directional_check(loss, arrays, Fine())
        assert in_f64[1].sum(1).max() > 0.5
        assert all(np.abs(gradient).max() > 1e-3 for gradient in in_f64[2:])
    else:
        for exact, found in zip(in_f64[2:], tape_gradients(loss, arrays), strict=True):
            assert np.linalg.norm(found - exact) <= backend.rtol * np.linalg.norm(exact)


@pytest.mark.row(28)
def test_gradients_match_differences(f64, monkeypatch):
    check_gradients(f64, monkeypatch)


def test_a_scene_of_nothing_has_them_too(f64):
    nothing = tidr.Scene(tidr.Film(6, 6))
    nothing.add_material("skin", tidr.Material())
    nothing.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), fov_y_degrees=45, width=6, height=6))
    assert (shown(nothing, reflections=1.0, subsurface={"skin": (0.1, 0.1, 0.1)}) == 0).all()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"reflections": 0.0}, "renderer.reflections"),
        ({"reflections": float("nan")}, "renderer.reflections"),
        ({"reflections": 1.0, "shader": "gouraud"}, "shader phong"),
        ({"subsurface": {"skin": (0.1, 0.1, 0.1)}, "edges": "soft"}, "soft and splat"),
        ({"subsurface": {"skin": (0.1, -0.1, 0.1)}}, "renderer.subsurface.skin"),
        ({"subsurface": {"skin": (0.1, 0.1)}}, "renderer.subsurface.skin"),
        ({"subsurface": {"skim": (0.1, 0.1, 0.1)}}, "did you mean 'skin'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(f64, options, where):
    with pytest.raises(SceneError, match=where):
        tidr.render(room(), renderer=tidr.Rasterizer(**options))


def test_gradients_on_vulkan(vulkan, monkeypatch):
    if not in_f64:  # where this runs alone
        with monkeypatch.context() as patch:
            check_gradients(start("cpu", 64), patch)
        start(vulkan.arch, vulkan.precision)
    check_gradients(vulkan, monkeypatch)
    monkeypatch.undo()
    assert (shown(room(), reflections=2.0) - shown(room())).max() > 0.03
