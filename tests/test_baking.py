"""Baking: lit materials become one unlit texture, or colours of vertices, that show the same."""

import numpy as np
import pytest

import tidr
from tidr.errors import GradientError, SceneError

SUNLIT = tidr.Rasterizer(edges="none", channels=("rgb",), shadows="soft", shadow_resolution=128, shadow_softness=3)


PLAIN = tidr.Rasterizer(edges="none", channels=("rgb",))


@pytest.fixture
def views(f32):
    """Cameras to bake for, and others."""

    def at(*places) -> list[tidr.Camera]:
        return [tidr.Camera.look_at(p, (0, 0.2, 0), fov_y_degrees=40, width=48, height=48) for p in places]

    return at(*((3 * np.sin(a), 1.3, 3 * np.cos(a)) for a in range(6))), at((1.7, 2.2, 1.5), (-2, 1.2, 2))


def stage(pattern) -> tidr.Scene:
    """A rough ball, its halves side by side in uv, whose shadow falls on a floor, under a sun, a bulb and a sky."""
    scene = tidr.Scene(tidr.Film(48, 48))
    vertices, faces = tidr.icosphere(3)
    corners = vertices[faces]
    halves = np.where(corners.mean(1)[:, 2:] > 0, 0.25, 0.75)
    uvs = np.stack([corners[..., 0] * 0.24 + halves, corners[..., 1] * 0.48 + 0.5], -1).reshape(-1, 2)
    ball = tidr.Mesh(0.6 * vertices, faces, uvs=uvs, uv_faces=np.arange(len(uvs)).reshape(-1, 3))
    scene.add_node("ball", tidr.Node(ball, ("skin",), None, (0, 0.65, 0), scale=0.9))
    z, x = (part.ravel() for part in np.meshgrid(*[np.linspace(-1.5, 1.5, 25)] * 2, indexing="ij"))
    a = (np.arange(24)[:, None] * 25 + np.arange(24)).ravel()
    plane = np.stack([a, a + 25, a + 26, a + 1], 1)
    floor = tidr.Mesh(np.stack([x, 0 * x, z], 1), plane, uvs=np.stack([x, -z], 1) / 3 + 0.5, uv_faces=plane)
    scene.add_node("floor", tidr.Node(floor, ("stone",)))
    scene.add_material("skin", tidr.Material("metallic_roughness", albedo=pattern, roughness=0.9))
    scene.add_material("stone", tidr.Material("metallic_roughness", albedo=(0.6, 0.5, 0.4), roughness=0.95))
    scene.add_light("sky", tidr.AmbientLight((0.3, 0.35, 0.4)))
    scene.add_light("sun", tidr.DirectionalLight((-0.6, -1, -0.3), 2.0))
    scene.add_light("bulb", tidr.PointLight((1, 1.5, 1.5), (1.5, 1.2, 1.0)))
    return scene


def psnr(a, b) -> float:
    return float(-10 * np.log10(((np.asarray(a) - np.asarray(b)) ** 2).mean()))


def drawn(scene, cameras, renderer=PLAIN) -> np.ndarray:
    return np.asarray(tidr.render(scene, cameras, renderer).rgb)


@pytest.mark.row(208)
@pytest.mark.parametrize("to", [pytest.param("texture", marks=pytest.mark.long), "vertex_colors"])
def test_a_baked_scene_looks_as_the_lit_one_from_views_that_it_was_not_baked_for(f32, views, to):
    colors = np.kron(np.random.default_rng(0).uniform(0.2, 0.9, (4, 8, 3)), np.ones((4, 4, 1)))
    scene = stage(tidr.Texture(colors) if to == "texture" else (0.8, 0.4, 0.3))  # vertices cannot hold the pattern
    baked = tidr.bake(scene, to=to, size=256, cameras=views[0], renderer=SUNLIT)
    lit, shown = drawn(scene, views[1], SUNLIT), drawn(baked, views[1])
    found = min(psnr(*pair) for pair in zip(lit, shown, strict=True))
    assert found >= 30
    assert psnr(lit, drawn(scene, views[1])) < found - 5  # the shadow is in it


def test_a_highlight_stays_for_the_one_camera_that_it_was_baked_for(f32, views):
    scene, (one, *_) = stage(0.5), views[0]
    scene.materials["stone"] = tidr.Material("metallic_roughness", albedo=0.6, roughness=0.3, metallic=0.5)
    alone, all_around = (tidr.bake(scene, ["floor"], size=128, cameras=each) for each in ([one], views[0]))
    found = [psnr(drawn(scene, one), drawn(each, one)) for each in (alone, all_around)]
    assert found[0] > 35
    assert found[0] > found[1] + 5
    assert alone["ball"] is scene["ball"]


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_mesh_without_uvs_of_its_own_gets_new_ones(f32, views, overlaps):
    pytest.importorskip("xatlas")
    scene = stage((0.3, 0.7, 0.5))
    mesh = scene["ball"].mesh
    given = {"uvs": mesh.uvs.numpy() % 0.5, "uv_faces": mesh.uv_faces} if overlaps else {}
    scene["ball"].geometry = tidr.Mesh(mesh.vertices.numpy(), mesh.faces, **given)
    baked = tidr.bake(scene, ["ball"], size=128, cameras=views[0])
    assert psnr(drawn(scene, views[1]), drawn(baked, views[1])) > 30


def test_what_cannot_be_baked_is_said(f32, views):
    scene = stage(0.5)
    for options, where in (
        ({"nodes": ["bal"]}, "nodes.bal"),
        ({"cameras": ["front"]}, "cameras"),
        ({}, "cameras"),
        ({"to": "light"}, "bake"),
    ):
        with pytest.raises(SceneError, match=where):
            tidr.bake(scene, **options)
    scene["floor"].geometry = None
    with pytest.raises(SceneError, match="no mesh"):
        tidr.bake(scene, ["floor"], cameras=views[1])
    with pytest.raises(GradientError, match="is no step of a tape"), tidr.Tape():
        tidr.bake(scene, cameras=views[1])
