"""Mitsuba's scenes, as XML and as dictionaries: the same pictures, the same numbers, one warning."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import FileError
from tidr.files.imported import SceneWarning
from tidr.files.mitsuba import read_mitsuba
from tidr.files.volume import VolumeData, write_volume
from tidr.renderers.path import PathTracer

from .mitsuba_files import CORNELL, load, scene, write
from .reference.mitsuba_scenes import BLOCK, SIZE

PICTURES = Path(__file__).parent / "reference" / "mitsuba_blocks.npz"
SEEDS = 4


def told(folder: Path, body: str) -> str:
    """The text of the one warning that a scene gives."""
    with pytest.warns(SceneWarning) as caught:
        tidr.load(write(folder, scene(body)))
    assert len([one for one in caught if issubclass(one.category, SceneWarning)]) == 1
    return str(caught[0].message)


def world_vertices(found: tidr.Scene, name: str) -> np.ndarray:
    matrix = found.world_matrices()[name]
    return found.nodes[name].vertices.numpy() @ matrix[:3, :3].T + matrix[:3, 3]


def values(found: tidr.Scene, name: str) -> dict:
    return {slot: source.numpy().tolist() for slot, source in found.materials[name].parameters().items()}


def shape(material: str) -> str:
    return f'<shape type="rectangle" id="quad">{material}</shape>'


def only_material(folder: Path, text: str) -> tuple[str, dict]:
    found = load(folder, shape(text))
    (name,) = found.nodes["quad"].materials
    return found.materials[name].type, values(found, name)


def blocks(picture: np.ndarray) -> np.ndarray:
    count = SIZE // BLOCK
    return picture.reshape(count, BLOCK, count, BLOCK, 3).mean((1, 3))


@pytest.mark.row(167)
def test_cornell_box_looks_as_mitsuba_draws_it(tmp_path, f32):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        found = tidr.load(write(tmp_path, CORNELL))
    assert list(found.nodes) == ["light", "floor", "ceiling", "back", "right", "left", "small", "large"]
    assert found.nodes["left"].materials == ("red",)
    assert not found.lights
    with np.load(PICTURES) as held:
        truth, variance = held["cornell"].astype(np.float64), held["cornell_variance"].astype(np.float64)
    drawn = [
        blocks(
            tidr.render(found, renderer=PathTracer(samples=24, max_depth=64, roulette_depth=8, seed=seed)).rgb.numpy()
        )
        for seed in range(SEEDS)
    ]
    error = np.sqrt(np.var(drawn, axis=0, ddof=1) / SEEDS + variance)
    off = np.abs(np.mean(drawn, 0) - truth)
    assert (off < 6 * error + 0.01 * truth + 1e-6).all()  # 4 seeds tell their own spread roughly
    assert abs(np.mean(drawn) / truth.mean() - 1) < 0.02
    assert np.median(error[truth > 0] / truth[truth > 0]) < 0.04


def test_film_is_overridden_as_in_any_scene(tmp_path):
    found = tidr.load(write(tmp_path, CORNELL), ["materials.red.albedo=0.25"])
    assert values(found, "red")["albedo"] == [0.25] * 3
    assert (found.film.width, found.film.height) == (48, 48)
    camera = found.cameras["eye"]
    np.testing.assert_allclose(camera.camera_to_world[:3], np.column_stack([np.eye(3), [0, 0, 3.9]]), atol=1e-9)
    np.testing.assert_allclose(camera.focal.numpy(), 24 / np.tan(np.radians(39.3077) / 2), rtol=1e-6)


def test_dictionaries_are_read_like_xml(tmp_path):
    class Transform:  # as Mitsuba's own
        matrix = np.array([[2.0, 0, 0, 1], [0, 2, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])

    grey = {"type": "rgb", "value": [0.1, 0.2, 0.3]}
    given = {
        "type": "scene",
        "integrator": {"type": "path"},
        "paint": {"type": "twosided", "inner": {"type": "diffuse", "reflectance": grey}},
        "ball": {"type": "sphere", "radius": 0.5, "to_world": Transform(), "bsdf": {"type": "ref", "id": "paint"}},
        "lamp": {"type": "point", "position": [1, 2, 3], "intensity": {"type": "spectrum", "value": 4.0}},
    }
    text = """<bsdf type="twosided" id="paint"><bsdf type="diffuse"><rgb name="reflectance" value="0.1 0.2 0.3"/></bsdf>
    </bsdf><shape type="sphere" id="ball"><float name="radius" value="0.5"/><transform name="to_world">
    <scale value="2"/><translate x="1" y="2" z="3"/></transform><ref id="paint"/></shape>
    <emitter type="point" id="lamp">
    <point name="position" value="1 2 3"/><spectrum name="intensity" value="4"/></emitter>"""
    one, other = tidr.load(given), load(tmp_path, text)
    assert list(one.nodes) == list(other.nodes) == ["ball"]
    np.testing.assert_array_equal(world_vertices(one, "ball"), world_vertices(other, "ball"))
    for name, parameter in one.parameters().items():
        np.testing.assert_array_equal(parameter.numpy(), other.parameters()[name].numpy())
    with pytest.raises(FileError, match=r"scene\.ball\.bsdf ref: no object has the id 'pain'"):
        tidr.load(given | {"ball": given["ball"] | {"bsdf": {"type": "ref", "id": "pain"}}})
    with pytest.raises(FileError, match="expected 'scene'"):
        tidr.load({"type": "sphere"})


@pytest.mark.parametrize(
    ("kind", "low", "high", "area"),
    [
        ("rectangle", [-1, -1, 0], [1, 1, 0], 4),
        ("cube", [-1, -1, -1], [1, 1, 1], 24),
        ("sphere", [-1, -1, -1], [1, 1, 1], 4 * np.pi),
        ("disk", [-1, -1, 0], [1, 1, 0], np.pi),
        ("cylinder", [-1, -1, 0], [1, 1, 1], 2 * np.pi),
    ],
)
def test_shapes_are_where_mitsuba_has_them(tmp_path, kind, low, high, area):
    data = next(iter(read_mitsuba(write(tmp_path, scene(f'<shape type="{kind}"/>'))).meshes.values()))
    np.testing.assert_allclose(data.vertices.min(0), low, atol=2e-3)
    np.testing.assert_allclose(data.vertices.max(0), high, atol=2e-3)
    a, b, c = (data.vertices[data.faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(area, rel=1e-3)
    outward = (
        normals @ [0, 0, 1]
        if kind in ("rectangle", "disk")
        else (normals * (a + b + c - [0, 0, 1.5 * (kind == "cylinder")])).sum(1)
    )
    assert (outward > 0).all()
    assert data.uvs is not None
    assert data.uvs.min() == pytest.approx(0)
    assert data.uvs.max() == pytest.approx(1)


# What Mitsuba 3.9 tells for rays that hit its shapes: a point and the uv there, v from the top.
@pytest.mark.parametrize(
    ("kind", "point", "uv"),
    [
        ("rectangle", (0.5, 0.2, 0), (0.75, 0.6)),
        ("disk", (0.5, 0.2, 0), (0.538517, 0.0605594)),
        ("cube", (0.2, 0.3, 1), (0.65, 0.6)),
        ("cube", (0.2, 0.3, -1), (0.35, 0.6)),
        ("cube", (1, 0.2, 0.3), (0.6, 0.35)),
        ("cube", (-1, 0.2, 0.3), (0.6, 0.65)),
        ("cube", (0.2, 1, 0.3), (0.4, 0.35)),
        ("cube", (0.2, -1, 0.3), (0.65, 0.6)),
        ("sphere", (0.932738, 0.3, 0.2), (0.0495265, 0.435906)),
        ("sphere", (0.3, -0.932738, 0.2), (0.799527, 0.435906)),
        ("cylinder", (0.953939, 0.3, 0.2), (0.0484933, 0.2)),
    ],
)
def test_textures_lie_as_mitsuba_lays_them(tmp_path, kind, point, uv):
    data = next(iter(read_mitsuba(write(tmp_path, scene(f'<shape type="{kind}"/>'))).meshes.values()))
    assert data.uvs is not None
    a, b, c = (data.vertices[data.faces[:, corner]] for corner in range(3))
    found = None
    for face in range(len(data.faces)):
        shares, *_ = np.linalg.lstsq(np.stack([b[face] - a[face], c[face] - a[face]], 1), point - a[face], rcond=None)
        miss = np.linalg.norm(a[face] + shares[0] * (b[face] - a[face]) + shares[1] * (c[face] - a[face]) - point)
        if miss < 2e-3 and shares.min() >= -1e-3 and shares.sum() <= 1 + 1e-3:
            found = np.array([1 - shares.sum(), *shares]) @ data.uvs[data.uv_faces[face]]
            break
    assert found is not None
    np.testing.assert_allclose([found[0], 1 - found[1]], uv, atol=5e-3)


def test_shapes_under_transforms(tmp_path):
    body = """<shape type="obj" id="mirrored"><string name="filename" value="quad.obj"/><transform name="to_world">
    <scale x="-1"/></transform></shape><shape type="rectangle" id="kept"><transform name="to_world"><scale x="-1"/>
    </transform></shape><shape type="sphere" id="one"><point name="center" value="1 2 3"/></shape>
    <shape type="sphere" id="two"><float name="radius" value="2"/></shape><shape type="cylinder" id="tube">
    <point name="p0" x="1"/><point name="p1" y="2"/><float name="radius" value="0.5"/></shape>
    <shape type="shapegroup" id="group"><shape type="cube" id="part"/></shape><shape type="instance" id="first">
    <ref id="group"/></shape><shape type="instance" id="second"><ref id="group"/><transform name="to_world">
    <translate x="9"/></transform></shape>"""
    found = load(tmp_path, body)

    def facing(name: str) -> float:
        corners = world_vertices(found, name)[found.nodes[name].faces[0]]
        return float(np.cross(corners[1] - corners[0], corners[2] - corners[0])[2])

    assert facing("mirrored") < 0 < facing("kept")  # a mesh without normals turns over, a rectangle does not
    assert found.nodes["two"].geometry is found.nodes["one"].geometry
    np.testing.assert_allclose(world_vertices(found, "one").mean(0), [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(world_vertices(found, "two").max(0), 2, rtol=1e-3)
    tube = world_vertices(found, "tube")
    axis = np.array([-1, 2, 0]) / 5**0.5
    away = tube - [1, 0, 0] - np.outer((tube - [1, 0, 0]) @ axis, axis)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 0.5, rtol=1e-5)
    assert "group" not in found.nodes
    np.testing.assert_allclose(world_vertices(found, "part_2") - world_vertices(found, "part"), [[9, 0, 0]] * 8)


def test_materials(tmp_path):
    kind, slots = only_material(tmp_path, '<bsdf type="diffuse"/>')
    assert (kind, slots["albedo"]) == ("lambert", [0.5] * 3)
    kind, slots = only_material(tmp_path, '<bsdf type="conductor"><string name="material" value="Au"/></bsdf>')
    assert kind == "conductor"
    np.testing.assert_allclose(slots["eta"], [0.1430, 0.3753, 1.4421], rtol=1e-6)
    ggx = '<string name="distribution" value="ggx"/>'
    text = f'<bsdf type="roughconductor"><rgb name="eta" value="1 2 3"/>{ggx}<float name="alpha" value="0.25"/></bsdf>'
    kind, slots = only_material(tmp_path, text)
    assert (slots["eta"], slots["k"], slots["roughness"]) == ([1, 2, 3], [1, 1, 1], 0.5)
    kind, slots = only_material(tmp_path, '<bsdf type="dielectric"/>')
    assert slots["ior"] == pytest.approx(1.5046 / 1.000277)
    text = (
        '<bsdf type="thindielectric"><float name="int_ior" value="1.3"/><string name="ext_ior" value="vacuum"/></bsdf>'
    )
    kind, slots = only_material(tmp_path, text)
    assert (kind, slots["ior"]) == ("thin_dielectric", pytest.approx(1.3))
    kind, slots = only_material(tmp_path, '<bsdf type="plastic"/>')
    assert (kind, slots["ior"]) == ("plastic", pytest.approx(1.49 / 1.000277))
    text = """<bsdf type="principled"><rgb name="base_color" value="0.1 0.2 0.3"/><float name="specular" value="0.5"/>
    <float name="clearcoat_gloss" value="0.25"/><float name="roughness" value="0.3"/></bsdf>"""
    kind, slots = only_material(tmp_path, text)
    assert (kind, slots["roughness"], slots["clearcoat_roughness"]) == ("principled", pytest.approx(0.3), 0.75)
    assert slots["ior"] == pytest.approx(1.5)
    text = '<bsdf type="mask"><float name="opacity" value="0.25"/><bsdf type="diffuse"/></bsdf>'
    kind, slots = only_material(tmp_path, text)
    assert (kind, slots["opacity"]) == ("lambert", 0.25)
    text = '<bsdf type="blendbsdf"><float name="weight" value="0.25"/><bsdf type="{}"/><bsdf type="{}"/></bsdf>'
    assert only_material(tmp_path, text.format("null", "diffuse"))[1]["opacity"] == 0.25
    assert only_material(tmp_path, text.format("plastic", "null"))[1]["opacity"] == 0.75
    kind, slots = only_material(tmp_path, '<emitter type="area"><rgb name="radiance" value="3 2 1"/></emitter>')
    assert (slots["emission"], slots["albedo"]) == ([3, 2, 1], [0, 0, 0])  # a lamp without a BSDF is black
    found = load(
        tmp_path,
        shape('<bsdf type="blendbsdf" id="mixed"><float name="weight" value="0.25"/><bsdf type="diffuse" id="a"/>'
              '<bsdf type="conductor" id="b"/></bsdf>'),
    )  # fmt: skip
    assert found.materials["mixed"].blended == ("a", "b")
    assert values(found, "mixed")["weight"] == 0.25


def test_textures(tmp_path):
    picture = '<string name="filename" value="picture.png"/>'
    text = f"""<bsdf type="normalmap"><texture type="bitmap" name="normalmap">
    <boolean name="raw" value="true"/>{picture}
    </texture><bsdf type="roughconductor"><string name="distribution" value="ggx"/><texture type="bitmap" name="alpha">
    <boolean name="raw" value="true"/>{picture}</texture></bsdf></bsdf>"""
    found = load(tmp_path, shape(text))
    (name,) = found.nodes["quad"].materials
    rough = found.materials[name].sources["roughness"].texels.numpy()
    assert rough.shape == (2, 4, 1)
    assert rough[0, 0, 0] == pytest.approx(0.212671**0.5)
    assert found.materials[name].sources["normal"].texels.numpy()[1, 3] == pytest.approx(188 / 255)
    text = f"""<bsdf type="diffuse"><texture type="bitmap" name="reflectance">{picture}<string name="wrap_mode"
    value="clamp"/><transform name="to_uv"><scale x="2" y="3"/><translate x="0.5"/></transform></texture></bsdf>"""
    found = load(tmp_path, shape(text))
    (name,) = found.nodes["quad"].materials
    texture = found.materials[name].sources["albedo"]
    assert texture.wrap == "clamp"
    assert texture.texels.numpy()[1, 3, 0] == pytest.approx(((188 / 255 + 0.055) / 1.055) ** 2.4, rel=1e-4)
    uvs = found.nodes["quad"].mesh.uvs.numpy()
    np.testing.assert_allclose(uvs.min(0), [0.5, -2])
    np.testing.assert_allclose(uvs.max(0), [2.5, 1])
    found = load(tmp_path, shape('<bsdf type="diffuse"><texture type="checkerboard" name="reflectance"/></bsdf>'))
    texels = found.materials[found.nodes["quad"].materials[0]].sources["albedo"].texels.numpy()
    np.testing.assert_allclose([texels[0, 0, 0], texels[0, -1, 0], texels[-1, -1, 0]], [0.4, 0.2, 0.4])


# What Mitsuba 3.9 makes of wavelengths in llvm_ad_rgb, on a surface and of a light.
@pytest.mark.parametrize(
    ("pairs", "reflectance", "intensity"),
    [
        ("400:0.2, 700:0.8", (0.6816, 0.4858, 0.2806), (0.8041, 0.4627, 0.2489)),
        ("400:0.8,500:0.1,600:0.1,700:0.5", (0.2033, 0.0667, 0.4593), (0.2412, 0.06, 0.431)),
        ("360:0.5, 830:0.5", (0.4995, 0.4994, 0.4994), (0.6024, 0.4741, 0.4546)),
    ],
)
def test_spectra(tmp_path, pairs, reflectance, intensity):
    (tmp_path / "a.spd").write_text("# nm value\n" + pairs.replace(",", "\n").replace(":", " "))
    body = f"""<emitter type="point" id="bulb"><spectrum name="intensity" value="{pairs}"/></emitter>
    <shape type="cube" id="cube"><bsdf type="diffuse" id="paint"><spectrum name="reflectance" filename="a.spd"/></bsdf>
    </shape>"""
    found = load(tmp_path, body)
    np.testing.assert_allclose(values(found, "paint")["albedo"], reflectance, atol=0.012)
    np.testing.assert_allclose(found.lights["bulb"].intensity.numpy(), intensity, atol=0.012)


def test_lights(tmp_path):
    head = '<default name="up" value="y"/>'
    body = """<emitter type="spot" id="spot"><transform name="to_world"><lookat origin="1 2 3" target="1 2 7"/>
    </transform><float name="cutoff_angle" value="30"/><float name="beam_width" value="30"/></emitter>
    <emitter type="directional" id="sun"><vector name="direction" value="0 -2 0"/><rgb name="irradiance" value="3 2 1"/>
    </emitter><emitter type="envmap" id="sky"><string name="filename" value="picture.png"/>
    <float name="scale" value="2"/>
    <transform name="to_world"><rotate $up="1" angle="90"/></transform></emitter>"""
    with pytest.raises(FileError, match="is no valid XML"):  # defaults stand in values, not in names
        load(tmp_path, body, head)
    found = load(tmp_path, body.replace("$up", "y"))
    spot, sun, sky = (found.lights[name] for name in ("spot", "sun", "sky"))
    np.testing.assert_allclose(spot.direction.numpy(), [0, 0, 1], atol=1e-7)
    assert float(spot.cutoff.numpy()) == pytest.approx(np.pi / 6)
    assert float(spot.falloff.numpy()) == 0
    assert sun.direction.numpy().tolist() == [0, -1, 0]
    assert sun.irradiance.numpy().tolist() == [3, 2, 1]
    assert float(sky.rotation.numpy()) == pytest.approx(1.5 * np.pi)
    assert sky.radiance.numpy()[0, 0].tolist() == [2, 0, 0]


def test_a_tilted_sky_is_turned_texel_by_texel(tmp_path):
    def sky(angle: str) -> np.ndarray:
        text = f"""<emitter type="envmap" id="sky"><string name="filename" value="picture.png"/>
        <transform name="to_world"><rotate {angle}/></transform></emitter>"""
        light = load(tmp_path, text).lights["sky"]
        assert float(light.rotation.numpy()) == pytest.approx(0, abs=1e-6)
        return light.radiance.numpy()

    # Half a turn about z puts what was up down, and exchanges left and right.
    text = '<emitter type="envmap" id="sky"><string name="filename" value="picture.png"/></emitter>'
    still = load(tmp_path, text).lights["sky"].radiance.numpy()
    shifted = np.roll(still, 2, 1)  # tidr's centre column looks the other way
    np.testing.assert_allclose(sky('z="1" angle="180"'), shifted[::-1, ::-1], atol=1e-6)


def test_cameras(tmp_path):
    head = """<sensor type="thinlens" id="lens"><string name="focal_length" value="50mm"/><float name="aperture_radius"
    value="0.1"/><float name="focus_distance" value="3"/><film type="hdrfilm"><integer name="width" value="100"/>
    <integer name="height" value="50"/></film></sensor><sensor type="orthographic" id="flat"><transform name="to_world">
    <scale x="3" y="3"/></transform><film type="hdrfilm"><integer name="width" value="100"/><integer name="height"
    value="50"/></film></sensor><sensor type="perspective" id="crop"><float name="fov" value="40"/>
    <string name="fov_axis"
    value="diagonal"/><float name="principal_point_offset_x" value="0.1"/><film type="hdrfilm"><integer name="width"
    value="100"/><integer name="height" value="50"/><integer name="crop_offset_x" value="20"/><integer
    name="crop_width" value="30"/><integer name="crop_height" value="20"/></film></sensor>"""
    cameras = load(tmp_path, shape(""), head).cameras
    half = np.degrees(np.arctan(50 / cameras["lens"].focal.numpy()[0]))
    assert 2 * half == pytest.approx(42.3117, abs=1e-3)  # as Mitsuba 3.9 computes it
    assert float(cameras["lens"].aperture_radius.numpy()) == pytest.approx(0.1)
    np.testing.assert_allclose(cameras["flat"].focal.numpy(), 100 / 6, rtol=1e-6)
    crop = cameras["crop"]
    assert 2 * np.degrees(np.arctan(50 / crop.focal.numpy()[0])) == pytest.approx(36.0648, abs=1e-3)
    np.testing.assert_allclose(crop.principal_point.numpy(), [20, 25])
    assert (crop.width, crop.height) == (30, 20)
    np.testing.assert_allclose(crop.camera_to_world[:3, :3], np.diag([-1, 1, -1]), atol=1e-9)


def test_media_fill_their_cube(tmp_path):
    body = """<shape type="cube" id="box"><transform name="to_world"><scale value="0.5"/></transform><bsdf type="null"/>
    <medium name="interior" type="homogeneous"><float name="sigma_t" value="1.5"/><float name="scale" value="2"/>
    <rgb name="albedo" value="0.9 0.7 0.5"/><phase type="hg"><float name="g" value="0.4"/></phase></medium></shape>"""
    found = load(tmp_path, body)
    (volume,) = [node.geometry for node in found.nodes.values()]
    assert isinstance(volume, tidr.Volume)
    assert volume.density.numpy().ravel().tolist() == [3.0]
    np.testing.assert_allclose(volume.albedo.numpy(), [0.9, 0.7, 0.5], rtol=1e-6)
    assert float(volume.g.numpy()) == pytest.approx(0.4)


def test_grids_stand_where_their_transform_puts_them(tmp_path):
    write_volume(tmp_path / "smoke.vol", VolumeData({"density": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}))
    body = """<shape type="sphere" id="ball"><float name="radius" value="{radius}"/><bsdf type="null"/><medium
    name="interior" type="heterogeneous"><float name="scale" value="0.5"/><rgb name="albedo" value="0.8 0.9 1"/><volume
    name="sigma_t" type="gridvolume"><string name="filename" value="smoke.vol"/><transform name="to_world">
    <translate x="-0.5" y="-0.5" z="-0.5"/><scale value="2"/></transform></volume></medium></shape>"""
    found = load(tmp_path, body.format(radius=2))
    (node,) = found.nodes.values()
    np.testing.assert_allclose(node.geometry.density.numpy(), np.arange(24).reshape(2, 3, 4) / 2)
    corners = np.array([[*side, 1.0] for side in node.geometry.bounds()]) @ found.world_matrices()[node.name].T
    np.testing.assert_allclose(corners[:, :3], [[-1] * 3, [1] * 3], atol=1e-6)
    assert "holds them whole" in told(tmp_path, body.format(radius=1))


def test_everything_left_out_is_told_in_one_warning(tmp_path):
    body = """<shape type="rectangle"><bsdf type="hair"/></shape><shape type="bsplinecurve" id="curl"/>
    <emitter type="sunsky" id="noon"/><emitter type="point"><texture type="bitmap" name="intensity"><string
    name="filename" value="picture.png"/></texture></emitter><shape type="sphere"><bsdf type="roughdielectric"/>
    <medium name="interior" type="homogeneous"/></shape><emitter type="spot"/><emitter type="constant"/>
    <emitter type="constant"/><shape type="disk"><bsdf type="diffuse"><float name="shine" value="3"/></bsdf></shape>"""
    text = told(tmp_path, body)
    for word in (
        "hair",
        "bsplinecurve",
        "sunsky",
        "beckmann",
        "media are read in cubes",
        "rim",
        "second environment",
        "'intensity' is left out",
        "'shine'",
    ):
        assert word in text
    assert f"{tmp_path / 'a.xml'}:" in text
