"""Materials: types, slots and presets, scene files that hold them, and what the rasterizer draws of them."""

import re
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.files.image import write_image
from tidr.files.scene_file import load_scene
from tidr.files.scene_write import write_scene
from tidr.scene.material import CONDUCTORS, MATERIAL_TYPES
from tidr.scene.sampling import sample_points
from tidr.scene.texture import Texture

from .gradients import tape_gradients, weighted
from .scene_parts import FULL, make_parts, message, write
from .voxel_scenes import against_f64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_parts(tmp_path)


def test_a_plain_material_has_no_new_parameters(f32):
    assert set(tidr.Material("lambert").parameters()) == {"albedo"}
    assert set(tidr.Material("lambert", emission=0).parameters()) == {"albedo", "emission"}
    lamp = tidr.Material("phong", emission=(1, 2, 3), opacity=0.5)
    assert set(lamp.parameters()) == {"albedo", "specular", "shininess", "emission", "opacity"}
    assert lamp.sources["emission"].constraint.clamp == (0, np.inf)


def test_roughness_zero_is_smooth_and_no_parameter(f32):
    for kind in ("conductor", "dielectric", "plastic"):
        assert "roughness" not in tidr.Material(kind).parameters()
        assert "roughness" not in tidr.Material(kind, roughness=0).parameters()
        assert tidr.Material(kind, roughness=0.1).parameters()["roughness"].numpy() == pytest.approx(0.1)
    assert "roughness" in tidr.Material("metallic_roughness", roughness=0).parameters()


# What published tables of metals give as their colour under white light, head on (linear sRGB).
COLORS = {
    "silver": (0.97, 0.96, 0.92),
    "gold": (1.0, 0.78, 0.34),
    "copper": (0.96, 0.64, 0.54),
    "aluminium": (0.91, 0.92, 0.92),
}


@pytest.mark.parametrize("metal", COLORS)
def test_metals_have_their_colours(metal, f32):
    material = tidr.Material("conductor", preset=metal)
    eta, k = (material.sources[name].numpy() for name in ("eta", "k"))
    reflected = ((eta - 1) ** 2 + k**2) / ((eta + 1) ** 2 + k**2)
    np.testing.assert_allclose(reflected, COLORS[metal], atol=0.05)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("conductor", {"preset": "glod"}, "unknown metal 'glod' (did you mean 'gold'?)"),
        ("conductor", {"preset": "gold", "k": 1}, "material.k: stands beside preset"),
        ("dielectric", {"preset": "gold"}, "material.preset: dielectric has no such value"),
        ("lambert", {"emision": 1}, "did you mean 'emission'?"),
        ("lambert", {"normal": 0.5}, "normal: is 0.5, expected a texture"),
        ("lambert", {"normal": Texture(np.zeros((2, 2)))}, "texture has 1 channels, expected 3"),
        ("lambert", {"opacity": "vertex_colors"}, "vertex colours have 3 channels"),
        ("dielectric", {"ior": (1, 2, 3)}, "ior: got shape (3,), expected a number"),
        ("blend", {"first": "a"}, "material.second: is None"),
        ("blend", {"first": "a", "second": "b", "wieght": 1}, "did you mean 'weight'?"),
        ("plastik", {}, "did you mean 'plastic'?"),
    ],
)
def test_contradictions_are_told(kind, values, expected, f32):
    with pytest.raises(SceneError, match=re.escape(expected)):
        tidr.Material(kind, **values)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('preset = "gold"', 'preset = "gould"'), "materials.ring.preset: no metal 'gould', did you mean 'gold'?"),
        (('preset = "gold"', 'preset = "gold"\nk = 2'), "materials.ring.preset: stands beside eta or k"),
        (('preset = "gold"', "preset = 3"), "materials.ring.preset: is 3, expected a name"),
        (("ior = 1.4", "ior = 0"), "materials.lamp.ior: is 0, expected a number or a texture, each number in 0.2 to 5"),
        (("ior = 1.4", "iro = 1.4"), "materials.lamp.iro: unknown key, did you mean 'ior'?"),
        (("emission = [1, 2, 30]", "emission = -1"), "materials.lamp.emission: is -1"),
        (("opacity = 0.5", "opacity = 1.5"), "materials.lamp.opacity: is 1.5"),
        (('normal = { texture = "paint.png", filter = "trilinear" }', "normal = 1"), "expected a texture table"),
        (('first = "ring"', 'first = "rign"'), "materials.mixed.first: no material 'rign', did you mean 'ring'?"),
        (('first = "ring"', 'first = "mixed"'), "materials.mixed.first: is 'mixed', which is a blend itself"),
        (('first = "ring"', ""), "materials.mixed.first: is missing, expected the name of a material"),
        (('first = "ring"', "first = [1]"), "materials.mixed.first: is [1], expected a name"),
        (('second = "lamp"', 'second = "lamp"\nthird = 1'), "materials.mixed.third: unknown key"),
        (('material = ["metal"]', 'material = ["glow"]'), "no material 'glow'"),
    ],
)
def test_wrong_materials_in_files_are_told(folder, change, expected, f32):
    assert change[0] in FULL
    assert expected in message(write(folder, FULL.replace(*change)))


def test_textures_of_blended_materials_need_uvs_too(folder, f32):
    (folder / "duck.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    text = FULL[: FULL.index("[fit]")].replace('material = "paint"', 'material = "mixed"')
    told = message(write(folder, text))
    assert "nodes.duck.material: mixed.weight is a texture but the mesh has no uvs" in told
    assert "nodes.duck.material: lamp.normal is a texture but the mesh has no uvs" in told


def test_pictures_of_plain_numbers_are_not_decoded_and_stay_in_range(folder, f32):
    parameters = load_scene(write(folder, FULL)).parameters()
    for path in ("lamp.normal", "mixed.weight"):  # paint.png holds 188 of 255
        np.testing.assert_allclose(parameters[path].numpy(), 188 / 255, atol=1e-6)
    write_image(folder / "dim.npz", np.full((2, 2), 0.1))
    text = FULL.replace("ior = 1.4", 'ior = { texture = "dim.npz" }')
    told = message(write(folder, text))
    assert "materials.lamp.ior.texture: has values from 0.1 to 0.1, expected 0.2 to 5" in told


def of_every_type() -> tidr.Scene:
    """A scene with a material of each type, with values unlike the defaults."""
    rng = np.random.default_rng(0)
    scene = tidr.Scene(tidr.Film(8, 8))
    for number, kind in enumerate(MATERIAL_TYPES):
        values: dict = {"emission": rng.uniform(0, 9, 3), "opacity": 0.25}
        for slot, about in MATERIAL_TYPES[kind].items():
            low, high = max(about.clamp[0], 0.1), min(about.clamp[1], 4)
            values[slot] = rng.uniform(low, high, about.channels if about.channels == 3 else ())
        if kind == "blend":
            values |= {"first": "lambert_0", "second": "phong_1"}
        scene.add_material(f"{kind}_{number}", tidr.Material(kind, **values))
    pictures = {
        "albedo": Texture(rng.uniform(0, 1, (3, 4, 3))), "ior": Texture(rng.uniform(1, 2, (3, 4, 1)), wrap="clamp"),
        "emission": Texture(rng.uniform(0, 50, (2, 2, 3))), "normal": Texture(rng.uniform(0, 1, (5, 5, 3))),
        "opacity": Texture(rng.uniform(0, 1, (2, 3, 1)), filter="trilinear"),
    }  # fmt: skip
    scene.add_material("textured", tidr.Material("plastic", **pictures))
    scene.add_material("mirror", tidr.Material("conductor", preset="silver", emission="vertex_colors"))
    return scene


def test_a_written_material_is_the_same_material(tmp_path, f32):
    scene = of_every_type()
    write_scene(scene, tmp_path / "out.toml")
    again = load_scene(tmp_path / "out.toml")
    assert list(again.parameters()) == list(scene.parameters())
    for path, parameter in scene.parameters().items():
        # PNG holds what lies within 0 and 1, in 8 bits; brighter and larger values are kept whole.
        eight_bits = path in ("textured.albedo", "textured.normal", "textured.opacity")
        tolerance = {"atol": 4.5e-3} if eight_bits else {"rtol": 1e-6}
        np.testing.assert_allclose(again.parameters()[path].numpy(), parameter.numpy(), err_msg=path, **tolerance)
    for name, material in scene.materials.items():
        other = again.materials[name]
        assert (other.type, other.blended, list(other.sources)) == (
            material.type,
            material.blended,
            list(material.sources),
        )
        for slot, source in material.sources.items():
            if isinstance(source, Texture):
                twin = other.sources[slot]
                assert isinstance(twin, Texture)
                assert (twin.wrap, twin.filter) == (source.wrap, source.filter)
    assert again.materials["mirror"].sources["emission"] == scene.materials["mirror"].sources["emission"]


def test_every_metal_of_the_table_is_a_preset(folder, f32):
    for metal in CONDUCTORS:
        scene = load_scene(write(folder, FULL.replace('preset = "gold"', f'preset = "{metal}"')))
        np.testing.assert_allclose(scene.parameters()["ring.k"].numpy(), CONDUCTORS[metal][1], rtol=1e-6)


# What the rasterizer makes of them.


def square(material: tidr.Material, seen_from: float = 4.0) -> tidr.Scene:
    """A square in the xy plane that faces +z, without any light."""
    scene = tidr.Scene(tidr.Film(16, 16))
    scene.add_camera("front", tidr.Camera.look_at([0, 0, seen_from], [0, 0, 0], fov_y_degrees=40, width=16, height=16))
    scene.add_material("glow", material)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    faces = [[0, 1, 2], [0, 2, 3]]
    mesh = tidr.Mesh(corners, faces, uvs=corners[:, :2] / 2 + 0.5, uv_faces=faces, colors=(corners + 1) / 2)
    scene.add_node("square", tidr.Node(mesh, ("glow",)))
    return scene


def test_emission_shines_in_the_dark_on_the_front_only(backend):
    for source, expected in ((3.0, [3, 3, 3]), (Texture(np.full((2, 2, 3), [1.0, 2, 4])), [1, 2, 4])):
        lamp = square(tidr.Material("lambert", emission=source))
        np.testing.assert_allclose(tidr.render(lamp, renderer="raster").rgb.numpy()[8, 8], expected, rtol=1e-5)
        behind = square(tidr.Material("lambert", emission=source), seen_from=-4.0)
        assert not tidr.render(behind, renderer="raster").rgb.numpy().any()
    painted = tidr.render(square(tidr.Material("lambert", emission="vertex_colors")), renderer="raster").rgb.numpy()
    assert painted[8, 11, 0] > painted[8, 4, 0] > 0
    np.testing.assert_allclose(painted[8, 8, 2], 0.5, rtol=1e-5)


def emission_problem(source: str):
    """A function that makes (function, arrays) of a square seen from its front or, with a side of -1, from behind."""
    rng = np.random.default_rng(1)
    texels, weights = rng.uniform(1, 2, (4, 4, 3)), rng.uniform(-1, 1, (16, 16, 3))
    name = "square.colors" if source == "vertex_colors" else "glow.emission"

    def seen(side: float):
        emission = {"number": (1.0, 2.0, 3.0), "texture": Texture(texels)}.get(source, source)
        scene = square(tidr.Material("phong", emission=emission), seen_from=4.0 * side)
        scene.add_light("sky", tidr.AmbientLight(0.3))
        scene.add_light("key", tidr.DirectionalLight([0.2, 0, -1], 1.0))
        arrays = [scene.parameters()[each] for each in (name, "glow.albedo", "glow.specular")]
        return lambda: weighted(tidr.render(scene, renderer="raster").rgb, weights), arrays

    return seen


@pytest.mark.parametrize("source", ["number", "texture", "vertex_colors"])
def test_gradient_of_emission_equals_differences(f64, source):
    seen = emission_problem(source)
    against_f64(("emission", source), lambda: seen(1.0), f64, 0)
    assert not tape_gradients(*seen(-1.0))[0].any()


def test_gradient_of_emission_on_vulkan_is_that_in_64_bits(vulkan):
    seen = emission_problem("texture")
    against_f64(("emission", "texture"), lambda: seen(1.0), vulkan, 0)


@pytest.mark.parametrize(
    ("material", "where"),
    [
        (lambda: tidr.Material("dielectric"), "materials.glow: 'dielectric' is no material of local shading"),
        (lambda: tidr.Material("lambert", opacity=0.5), "materials.glow.opacity: is not 1"),
    ],
)
def test_what_needs_light_transport_is_refused(material, where, f32):
    with pytest.raises(SceneError, match=re.escape(where)):
        tidr.render(square(material()), renderer="raster")


def test_what_is_not_seen_does_not_matter(f32):
    scene = square(tidr.Material("lambert", emission=1.0, opacity=1))
    scene.add_material("glass", tidr.Material("dielectric"))
    assert tidr.render(scene, renderer="raster").rgb.numpy()[8, 8] == pytest.approx(1.0)


def test_points_are_not_coloured_by_what_has_no_albedo(f32):
    scene = square(tidr.Material("conductor"))
    with pytest.raises(SceneError, match="a conductor has no albedo"):
        sample_points(scene["square"].mesh, 10, materials=[scene["glow"]])
