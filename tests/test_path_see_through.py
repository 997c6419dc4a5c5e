"""Gradients of what lies before, on and behind surfaces that light goes straight through."""

import functools

import numpy as np
import pytest

import tidr
from tidr.renderers.path import PathTracer
from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh
from tidr.scene.texture import Texture

from .gradients import directional_check, tape_gradients, weighted
from .path_scenes import quad
from .test_path_edges import QUARTERS, differences, same_mean, slopes_of_each


def with_all_kinds(scene: Scene) -> None:
    """What makes the path tracer's kernels those of the other scenes: a speck of all sources, a bulb that is out."""
    texture = Texture(np.full((2, 2, 3), 0.5)), Texture(np.full((2, 2, 1), 0.5))
    scene.add_material("any", Material("lambert", albedo=texture[0], opacity=texture[1], emission=0.0))
    speck = Mesh(1e-4 * np.eye(3) - (0, 90, 0), [[0, 1, 2]], uvs=np.eye(3)[:, :2], shading="flat")
    scene.add_node("speck", Node(speck, ("any",)))
    scene.add_light("out", PointLight((0, 80, 0), 0.0))


def sheet_before_wall(opacity: np.ndarray, half: float) -> Scene:
    """A wall behind a sheet of that opacity [8, 8], and another wall behind the camera; a lamp on either side.

    All are so wide, `half` to each side, that no rim is seen, and have patterns two units wide.
    """
    rng = np.random.default_rng(5)
    pattern = {name: Texture(rng.uniform(0.1, 0.9, (6, 6, 3))) for name in ("sheet", "wall", "back")}
    scene = Scene(Film(8, 8))
    for name, place, sign in (("sheet", 1.0, 1.0), ("wall", 0.0, 1.0), ("back", 4.0, -1.0)):
        square = quad((0, 0, place), half, axis=2, sign=sign)
        uvs = half * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + rng.uniform(0, 1, 2)
        scene.add_node(
            name, Node(Mesh(square.vertices.numpy(), square.faces, uvs=uvs, shading="flat"), (f"{name} paint",))
        )
        let_through = {"opacity": Texture(opacity[..., None])} if name == "sheet" else {}
        scene.add_material(f"{name} paint", Material("lambert", albedo=pattern[name], **let_through))
    with_all_kinds(scene)
    scene.add_light("inner", PointLight((0.5, 0.3, 0.5), (3.0, 2.0, 1.0)))
    scene.add_light("outer", PointLight((-0.4, 0.2, 2.5), (4.0, 5.0, 6.0)))
    scene.add_camera("front", Camera.look_at((0.2, 0.1, 3), (0, 0, 0), fov_y_degrees=40, width=8, height=8))
    return scene


def seen(scene: Scene, seed=0, edges="none", **options):
    settings = PathTracer(seed=seed, edges=edges, roulette_depth=99, **options)
    return weighted(tidr.render(scene, renderer=settings).rgb, QUARTERS)


def test_what_the_camera_sees_through_a_sheet_moves_along_its_rays(f64):
    """An even sheet: which paths go through it does not change, and gradients are exact."""
    scene = sheet_before_wall(np.full((8, 8), 0.4), 3.0)
    wanted = scene.parameters("sheet.*", "wall.*", "front.*", "*er.position")
    loss = functools.partial(seen, scene, seed=1, samples=8, max_depth=2, independent_gradient=False)
    directional_check(loss, list(wanted.values()), f64)


def test_a_bulb_behind_two_sheets_is_dimmed_by_both(f64):
    """A share of (1 - .4)(1 - .3); the derivatives by the opacities, each times its own share, sum up to -2 of it. With
    a medium around them: test_path_media.py."""
    scene = Scene(Film(8, 8))
    scene.add_material("white", Material("lambert", albedo=0.8))
    scene.add_node("floor", Node(quad((0, 0, 0), 4, axis=1, sign=1.0), ("white",)))
    with_all_kinds(scene)
    scene.add_light("bulb", PointLight((0, 2, 0), (3, 3, 3)))
    scene.add_camera("eye", Camera.look_at((0, 0.5, 1.2), (0, 0, 0), fov_y_degrees=20, width=8, height=8))
    options = {"samples": 4, "max_depth": 2, "independent_gradient": False}
    plain = float(seen(scene, **options))
    for name, height, opacity in (("near", 1.0, 0.4), ("far", 1.3, 0.3)):
        scene.add_material(f"{name} sheet", Material("lambert", albedo=0.0, opacity=opacity))
        scene.add_node(name, Node(quad((0, height, 0), 4, axis=1, sign=1.0), (f"{name} sheet",)))
    dimmed = float(seen(scene, **options))
    assert np.isclose(dimmed, 0.6 * 0.7 * plain, rtol=1e-9)
    wanted = list(scene.parameters("*sheet.opacity").values())
    near, far = (gradient.item() for gradient in tape_gradients(lambda: seen(scene, **options), wanted))
    assert np.isclose(0.6 * near + 0.7 * far, -2 * dimmed, rtol=1e-9)
    for gradient, left in ((near, 0.6), (far, 0.7)):
        assert np.isclose(gradient, -dimmed / left, rtol=0.3)  # one of the two by chance, for both


def test_a_lamp_lights_others_by_as_much_as_it_is_there(f64):
    """With an opacity a, as one of a times the emission; the derivative by a is the light on others divided by a. By
    photons: test_photon_media.py, by light tracing: test_light_tracing_gradients.py."""
    renderer = functools.partial(PathTracer, samples=64, max_depth=2)
    pictures = {}
    for opacity, emission in ((0.4, 5.0), (1.0, 2.0)):
        scene = Scene(Film(8, 8))
        scene.add_material("white", Material("lambert", albedo=0.8))
        scene.add_material("glow", Material("lambert", albedo=0.0, emission=(emission,) * 3, opacity=opacity))
        scene.add_node("floor", Node(quad((0, 0, 0), 4, axis=1, sign=1.0), ("white",)))
        scene.add_node("lamp", Node(quad((0, 1.5, 0), 0.4, axis=1, sign=-1.0), ("glow",)))
        with_all_kinds(scene)
        camera = Camera.look_at((0, 0.8, 1.2), (0, 0, 0), fov_y_degrees=20, width=8, height=8)

        def loss(seed, scene=scene, camera=camera):
            return weighted(tidr.render(scene, camera=camera, renderer=renderer(seed=seed)).rgb, QUARTERS**2)

        pictures[opacity] = np.array([float(loss(seed)) for seed in range(8)])
        if opacity < 1.0:
            (there,) = scene.parameters("glow.opacity").values()
            slopes = [tape_gradients(lambda seed=seed: loss(seed), [there])[0].item() for seed in range(8)]
    same_mean(pictures[0.4], pictures[1.0])
    same_mean(np.array(slopes), pictures[1.0] / 0.4)


@pytest.mark.long
@pytest.mark.row(104)
def test_patterns_and_what_they_let_through_move_as_differences_say(f64):
    """With a sheet whose opacity varies, light goes through it to the camera and between the walls."""
    scene = sheet_before_wall(np.random.default_rng(6).uniform(0.1, 0.9, (8, 8)), 40.0)
    arrays = [scene[name].translation for name in ("sheet", "wall", "back")] + [scene["front"].position]
    way, other = (0.6, 0.7, -0.4), (0.9, -0.4, 0.6)
    ways, enough = [way, way, other, way], (1536, 1024, 512, 2048)
    slopes = slopes_of_each(functools.partial(seen, scene, samples=1024, max_depth=3), arrays, ways)
    for found, array, along, samples in zip(slopes, arrays, ways, enough, strict=True):
        expected = differences(functools.partial(seen, scene, samples=samples, max_depth=3), array, along, 0.02)
        same_mean(found, expected)
