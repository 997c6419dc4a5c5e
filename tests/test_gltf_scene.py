"""Scenes of glTF: nodes that share meshes, materials, cameras and lights, there and back; and `tidr convert`."""

import json
import math
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidr
from tidr.cli.convert import convert
from tidr.errors import FileError, TidrError
from tidr.files.gltf_scene import read_gltf_scene
from tidr.files.gltf_scene_write import write_gltf_scene
from tidr.files.imported import SceneWarning
from tidr.files.mesh import read_mesh
from tidr.renderers.path import PathTracer

from .malformed import data_sets
from .malformed.builders import glb, gltf_buffer, gltf_json, png, points, splats
from .mitsuba_files import CORNELL, write

HALF = math.sqrt(0.5)
LIGHTS = "KHR_lights_punctual"


def full() -> dict:
    """A glTF with a bit of everything; its buffer also holds a picture."""
    body = gltf_json(embed=False)
    picture = png(2, 2)
    start = body["buffers"][0]["byteLength"]
    body["buffers"][0]["byteLength"] += len(picture)
    body["bufferViews"].append({"buffer": 0, "byteOffset": start, "byteLength": len(picture)})
    body["images"] = [{"bufferView": 2, "mimeType": "image/png"}]
    body["samplers"] = [{"wrapS": 33071, "wrapT": 33071}]
    body["textures"] = [{"source": 0, "sampler": 0}]
    body["accessors"].append({"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC2"})
    body["nodes"] = [
        {"name": "root", "children": [1, 2, 3, 4, 5, 6], "translation": [0, 1, 0], "scale": [2, 2, 2]},
        {"name": "one", "mesh": 0, "translation": [1, 0, 0]},
        {"name": "two", "mesh": 0, "rotation": [0, HALF, 0, HALF], "scale": [1, 2, 1]},
        {"name": "eye", "camera": 0, "translation": [0, 0, 5]},
        {"name": "spot", "extensions": {LIGHTS: {"light": 0}}, "translation": [0, 3, 0]},
        {"name": "mirrored", "mesh": 0, "scale": [-1, 1, 1]},
        {"name": "sun", "extensions": {LIGHTS: {"light": 1}}, "rotation": [-HALF, 0, 0, HALF]},
    ]
    body["cameras"] = [{"type": "perspective", "perspective": {"yfov": 0.7, "aspectRatio": 1.5, "znear": 0.1}}]
    spot = {
        "type": "spot",
        "intensity": 5,
        "color": [1, 0.5, 0.25],
        "spot": {"outerConeAngle": 0.6, "innerConeAngle": 0.4},
    }
    body["extensions"] = {LIGHTS: {"lights": [spot, {"type": "directional", "intensity": 3}]}}
    body["materials"] = [
        {
            "name": "red",
            "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 0.5], "roughnessFactor": 0.4, "metallicFactor": 0.1},
            "alphaMode": "BLEND",
            "emissiveFactor": [0.1, 0.2, 0.3],
            "normalTexture": {"index": 0},
            "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 10}},
        }
    ]
    body["meshes"][0]["primitives"][0] |= {"material": 0}
    body["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = 2
    body["accessors"][2] |= {"count": 4}
    body["bufferViews"][0] |= {"byteLength": 48}
    return body


def save(folder: Path, body: dict, name: str = "a.glb") -> Path:
    (folder / name).write_bytes(glb(body, gltf_buffer() + png(2, 2)))
    return folder / name


def world_corners(scene: tidr.Scene) -> np.ndarray:
    """Corners [n, 3, 3] of all triangles, in the world, in an order of their own."""
    worlds, found = scene.world_matrices(), []
    for name, node in scene.nodes.items():
        if node.geometry is not None:
            points = node.vertices.numpy() @ worlds[name][:3, :3].T + worlds[name][:3, 3]
            found.append(points[node.faces])
    return np.array(sorted(np.round(np.concatenate(found), 4).reshape(-1, 9).tolist())) + 0.0


def quietly(path: Path) -> tidr.Scene:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        return tidr.load(path)


def test_nodes_keep_their_transforms_and_share_meshes(tmp_path):
    path = save(tmp_path, full())
    scene = quietly(path)
    assert [*scene.nodes] == ["root", "one", "two", "mirrored"]
    assert scene.nodes["two"].geometry is scene.nodes["one"].geometry
    assert (scene.nodes["one"].parent, scene.nodes["mirrored"].parent) == ("root", None)  # no node mirrors
    assert scene.nodes["two"].scale.numpy().tolist() == [1, 2, 1]
    baked = read_mesh(path)
    corners = np.round(baked.vertices[baked.faces], 4).reshape(-1, 9).tolist()
    np.testing.assert_allclose(world_corners(scene), np.array(sorted(corners)), atol=2e-4)


def test_many_nodes_of_one_name_are_read_soon(tmp_path):
    body = full()
    body["nodes"] = [{"name": "n", "mesh": 0, "translation": [k, 0, 0]} for k in range(3000)]
    body["scenes"] = [{"nodes": [*range(3000)]}]
    started = time.perf_counter()
    found = read_gltf_scene(save(tmp_path, body)).scene
    assert time.perf_counter() - started < 5
    assert len(found.tables["nodes"]) == 3000
    assert len(found.meshes) == 1


@pytest.mark.parametrize(("across", "down"), [(16, 10), pytest.param(40, 38, marks=pytest.mark.long)])
def test_nodes_by_the_thousand_keep_their_colours_and_places(tmp_path, f32, across, down):
    body, colors = full(), np.random.default_rng(0).uniform(0.1, 0.9, (across * down, 3))
    square, count = body["meshes"][0]["primitives"][0]["attributes"]["POSITION"], across * down
    body["meshes"] = [
        {"primitives": [{"attributes": {"POSITION": square}, "mode": 6, "material": k}]} for k in range(count)
    ]
    plain = {"metallicFactor": 0, "roughnessFactor": 1}
    body["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [*color, 1], **plain}} for color in colors]
    places = [[k % across - across / 2, k // across - down / 2, 0] for k in range(count)]
    body["nodes"] = [{"mesh": k, "translation": place} for k, place in enumerate(places)]
    body["nodes"] += [{"camera": 0, "translation": [0, 0, 9]}, {"extensions": {LIGHTS: {"light": 1}}}]
    lens = {"xmag": across / 2, "ymag": down / 2, "znear": 0.1, "zfar": 99}
    body["cameras"] = [{"type": "orthographic", "orthographic": lens}]
    body["scenes"] = [{"nodes": [*range(count + 2)]}]
    scene = quietly(save(tmp_path, body))
    assert len(scene.nodes) == count
    image = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"), width=across, height=down)
    seen = image.rgb.numpy()[::-1].reshape(-1, 3)  # row by row from below, as the nodes
    slope, offset = np.polyfit(colors.ravel(), seen.ravel(), 1)
    assert slope > 0.1
    np.testing.assert_allclose(seen, slope * colors + offset, atol=1e-5)


def test_cameras_and_lights(tmp_path):
    body = full()
    body["nodes"].append({"name": "flat", "camera": 1})
    body["scenes"][0]["nodes"].append(7)
    body["cameras"].append({"type": "orthographic", "orthographic": {"xmag": 2, "ymag": 1, "znear": 0.1, "zfar": 9}})
    scene = quietly(save(tmp_path, body))
    eye, flat = scene.cameras["eye"], scene.cameras["flat"]
    np.testing.assert_allclose(eye.position.numpy(), [0, 1, 10])
    assert (eye.width, eye.height) == (scene.film.width, scene.film.height) == (768, 512)
    np.testing.assert_allclose(eye.focal.numpy(), 256 / math.tan(0.35), rtol=1e-6)
    assert (flat.kind, flat.width, flat.near, flat.far) == ("orthographic", 1024, 0.1, 9)
    np.testing.assert_allclose(flat.focal.numpy(), 256)
    spot, sun = scene.lights["spot"], scene.lights["sun"]
    assert spot.position.numpy().tolist() == [0, 7, 0]
    assert spot.intensity.numpy().tolist() == [5, 2.5, 1.25]
    np.testing.assert_allclose([spot.cutoff.numpy(), spot.falloff.numpy()], [0.6, 0.2], rtol=1e-6)
    np.testing.assert_allclose(spot.direction.numpy(), [0, 0, -1])
    np.testing.assert_allclose(sun.direction.numpy(), [0, -1, 0], atol=1e-7)
    assert sun.irradiance.numpy().tolist() == [3, 3, 3]
    assert len(scene.lights) == 2


def test_materials(tmp_path):
    material = quietly(save(tmp_path, full())).materials["red"]
    assert material.type == "metallic_roughness"
    assert {slot: material.sources[slot].numpy().tolist() for slot in ("albedo", "opacity")} == {
        "albedo": [1, 0, 0],
        "opacity": 0.5,
    }
    np.testing.assert_allclose(material.sources["emission"].numpy(), [1, 2, 3], rtol=1e-6)
    assert material.sources["normal"].texels.shape == (2, 2, 3)
    assert material.sources["normal"].wrap == "clamp"
    body = full()
    entry = body["materials"][0]
    entry |= {"alphaMode": "MASK", "alphaCutoff": 0.4, "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    entry["occlusionTexture"] = {"index": 0}
    with pytest.warns(SceneWarning, match="occlusionTexture") as caught:
        material = tidr.load(save(tmp_path, body)).materials["red"]
    assert len(caught) == 1
    assert material.sources["opacity"].texels.numpy().ravel().tolist() == [0, 0, 0, 0]  # the picture is clear
    entry["pbrMetallicRoughness"] = {"baseColorFactor": [1, 1, 1, 0.6]}
    with pytest.warns(SceneWarning):
        assert "opacity" not in tidr.load(save(tmp_path, body)).materials["red"].sources


def test_vertex_colours_are_dyed_by_the_colour_of_the_material(tmp_path, f32):
    body = full()
    plain = {"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.4, 0.2, 1]}}
    body["materials"] = [plain, {"pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.5, 1, 1]}}]
    (one,) = body["meshes"][0]["primitives"]
    with_colors = {"attributes": one["attributes"] | {"COLOR_0": one["attributes"]["POSITION"]}, "material": 0}
    body["meshes"][0]["primitives"] = [one | with_colors, one | {"material": 1}]
    scene = quietly(save(tmp_path, body))
    node = scene.nodes["one"]
    assert [type(scene.materials[name].sources["albedo"]).__name__ for name in node.materials] == ["VertexColors"] * 2
    corners, colors = node.vertices.numpy()[node.faces], node.mesh.colors.numpy()[node.faces]
    first = node.mesh.face_materials == 0
    np.testing.assert_allclose(colors[first], corners[first] * [0.8, 0.4, 0.2], atol=1e-6)
    np.testing.assert_allclose(colors[~first], np.broadcast_to([0.1, 0.5, 1], colors[~first].shape), atol=1e-6)


def test_files_without_cameras_and_lights_are_framed_and_lit_as_a_mesh_is(tmp_path):
    (tmp_path / "a.glb").write_bytes(glb(gltf_json(embed=False), gltf_buffer()))
    scene = quietly(tmp_path / "a.glb")
    assert ([*scene.nodes], [*scene.cameras], [*scene.lights]) == (["a"], ["front"], ["key", "sky"])
    assert scene.nodes["a"].mesh.shading == "flat"  # as glTF asks where there are no normals
    body = full()
    del body["nodes"][0]["children"][2]
    assert [*quietly(save(tmp_path, body)).cameras] == ["front"]
    body["nodes"][0]["children"] = [1]
    assert not quietly(save(tmp_path, body)).lights  # its emission lights it


def test_scenes_go_to_glb_and_back(tmp_path, f32):
    scene = quietly(save(tmp_path, full()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        write_gltf_scene(scene, tmp_path / "b.glb")
    again = quietly(tmp_path / "b.glb")
    assert [*again.nodes] == ["root", "mirrored", "one", "two"]
    assert again.nodes["two"].geometry is again.nodes["one"].geometry
    np.testing.assert_allclose(world_corners(again), world_corners(scene), atol=2e-4)
    for name, parameter in scene.parameters("*.position", "spot.*", "sun.*", "eye.focal", "red.*").items():
        np.testing.assert_allclose(again.parameters()[name].numpy(), parameter.numpy(), atol=2e-6, err_msg=name)
    assert again.materials["red"].sources["normal"].wrap == "clamp"
    first, second = (
        tidr.render(one, renderer=PathTracer(samples=16), width=24, height=16).rgb.numpy() for one in (scene, again)
    )
    assert first.mean() > 0.05
    assert np.abs(first - second).mean() < 0.02 * first.mean()


def test_what_glb_cannot_hold(tmp_path, f32):
    scene = tidr.load(write(tmp_path, CORNELL))
    scene.add_light("around", tidr.EnvironmentLight(0.5))
    scene.add_material("ice", tidr.Material("dielectric"))
    scene.nodes["small"].materials = ("ice",)
    with pytest.warns(SceneWarning) as caught:
        write_gltf_scene(scene, tmp_path / "b.glb")
    assert len(caught) == 1
    assert "materials.ice: dielectric" in str(caught[0].message)
    assert "lights.around: glTF has no EnvironmentLight" in str(caught[0].message)
    scene.add_node("smoke", tidr.Node(tidr.Volume(np.ones((2, 2, 2)))))
    with pytest.raises(FileError, match="'smoke' holds Volume, glTF takes meshes"):
        write_gltf_scene(scene, tmp_path / "c.glb")
    assert not (tmp_path / "c.glb").exists()


@pytest.mark.row(167)
def test_convert_takes_scenes_of_every_kind_to_toml_and_meshes_to_glb(tmp_path, f32, capsys):
    sources = [save(tmp_path, full()), write(tmp_path, CORNELL)]
    for source in sources:
        first = tidr.load(source)
        out = tmp_path / f"{source.suffix[1:]}"
        out.mkdir()
        convert(str(source), out / "scene.toml")
        convert(str(out / "scene.toml"), out / "scene.glb")
        again, back = tidr.load(out / "scene.toml"), tidr.load(out / "scene.glb")
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
        assert [*again.nodes] == [*first.nodes]
        for name, parameter in first.parameters().items():
            if not name.endswith((".normals", ".uvs")):  # an OBJ holds each once
                np.testing.assert_allclose(again.parameters()[name].numpy(), parameter.numpy(), atol=3e-6, err_msg=name)
        np.testing.assert_allclose(world_corners(again), world_corners(first), atol=2e-4)
        np.testing.assert_allclose(world_corners(back), world_corners(first), atol=2e-4)
    assert "scene.glb: 8 nodes, 1 cameras" in capsys.readouterr().out
    convert(str(sources[1]), tmp_path / "set.toml", ["film.width=20"])
    assert tidr.load(tmp_path / "set.toml").film.width == 20


def test_convert_takes_gaussians_points_and_volumes_to_toml(tmp_path, capsys):
    contents = {
        "splats.ply": splats(),
        "points.ply": points(),
        "smoke.npz": data_sets.volume_npz(),
        "b.vol": data_sets.vol(),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        out = tmp_path / Path(name).stem
        out.mkdir()
        convert(str(tmp_path / name), out / "scene.toml")
        first, again = tidr.load(tmp_path / name), tidr.load(out / "scene.toml")
        assert [*again.nodes] == [*first.nodes]
        assert [*again.cameras] == ["front"]
        for path, parameter in first.parameters().items():
            np.testing.assert_allclose(again.parameters()[path].numpy(), parameter.numpy(), atol=1e-6, err_msg=path)
    assert capsys.readouterr().out.count("1 nodes, 1 cameras") == 4


def test_info_tells_of_them(tmp_path, f32):
    from tidr.cli.info import scene_facts

    facts = scene_facts(quietly(save(tmp_path, full())))
    assert facts["nodes"]["two"]["shares_mesh_of"] == "one"
    assert facts["lights"]["spot"] == {"type": "SpotLight"}


WRONG = (None, -1, 9, 1e30, "a", [], {}, True, [1], [[]], {"light": 7})


def leaves(body: object, path: tuple = ()) -> list[tuple]:
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [one for key, value in items for one in [(*path, key), *leaves(value, (*path, key))]]


def test_wrong_values_everywhere_are_refused_or_read(tmp_path):
    text = json.dumps(full())
    refused = 0
    for turn, path in enumerate(leaves(full())):
        for value in WRONG[turn % 6 :: 6]:
            body = json.loads(text)
            owner = body
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = value
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    tidr.load(save(tmp_path, body))
                except TidrError:
                    refused += 1
    assert refused > 100


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 40)), min_size=1, max_size=3))
def test_changed_files_are_refused_or_read(changes, tmp_path):
    data = glb(full(), gltf_buffer() + png(2, 2))
    for place, new, cut in changes:
        at = int(place * len(data))
        data = data[:at] + new + data[at + cut :]
    data = data[:8] + len(data).to_bytes(4, "little") + data[12:]
    (tmp_path / "a.glb").write_bytes(data)
    with warnings.catch_warnings(), suppress(TidrError):
        warnings.simplefilter("ignore")
        tidr.load(tmp_path / "a.glb")
