"""Mesh files: what was written comes back, what other programs write is understood, and trimesh agrees."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tidr.errors import FileError
from tidr.files.guard import Limits, MeshWarning
from tidr.files.image import read_image, read_texture, write_image
from tidr.files.mesh import from_trimesh, read_mesh, write_mesh
from tidr.files.polygons import triangulate, weld
from tidr.files.srgb import linear_to_srgb, srgb_to_linear
from tidr.scene.mesh_data import MaterialData, MeshData

from .malformed.builders import FACES, VERTICES, glb, gltf_buffer, gltf_json, ply, stl_ascii, stl_binary

ASSETS = Path(__file__).parents[2] / "shared" / "assets"
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def cube(materials: tuple[MaterialData, ...] = (), colors: bool = False) -> MeshData:
    """A cube: 8 welded vertices, 24 uvs in six islands, 6 normals."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64) / 3
    faces = np.array([face for a, b, c, d in QUADS for face in ((a, b, c), (a, c, d))])
    islands = np.array([[0, 0], [0.3, 0], [0.3, 0.3], [0, 0.3]])
    uvs = np.concatenate([islands + np.array([0.33 * (side % 3), 0.5 * (side // 3)]) for side in range(6)])
    uv_faces = np.array([[4 * side + slot for slot in face] for side in range(6) for face in ((0, 1, 2), (0, 2, 3))])
    a, b, c = (corners[faces[::2, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return MeshData(
        corners,
        faces,
        uvs=uvs,
        uv_faces=uv_faces,
        normals=normals,
        normal_faces=np.repeat(np.arange(6), 2)[:, None].repeat(3, 1),
        colors=np.random.default_rng(0).random((8, 3)) if colors else None,
        face_materials=np.repeat(np.arange(6) % len(materials), 2).astype(np.int32) if materials else None,
        materials=materials,
    )


def corners_of(data: MeshData) -> dict[str, np.ndarray]:
    """What each corner of each face looks up: independent of how tables are numbered."""
    found = {"position": data.vertices[data.faces]}
    if data.uvs is not None:
        found["uv"] = data.uvs[data.uv_faces]
    if data.normals is not None:
        found["normal"] = data.normals[data.normal_faces]
    if data.colors is not None:
        found["color"] = data.colors[data.faces]
    return found


def same(one: MeshData, other: MeshData, tolerance: float = 0.0, keys=("position", "uv", "normal", "color")) -> None:
    """Assert that two meshes look the same; the order of faces is free, that of a face's corners is not."""
    left, right = corners_of(one), corners_of(other)
    assert left.keys() & set(keys) == right.keys() & set(keys)
    tables = [
        np.concatenate([table[key].reshape(len(table[key]), -1) for key in keys if key in table], 1)
        for table in (left, right)
    ]
    ordered = [table[np.lexsort(np.round(table, 4).T)] for table in tables]
    assert ordered[0].shape == ordered[1].shape
    assert np.abs(ordered[0] - ordered[1]).max() <= tolerance


@pytest.mark.row(159)
@pytest.mark.parametrize("colors", [False, True])
def test_obj_round_trip_is_exact(tmp_path, colors):
    data = cube(colors=colors)
    write_mesh(tmp_path / "a.obj", data)
    back = read_mesh(tmp_path / "a.obj")
    for name in ("vertices", "faces", "uvs", "uv_faces", "normal_faces"):
        assert np.array_equal(getattr(back, name), getattr(data, name)), name
    assert np.abs(back.normals - data.normals).max() < 1e-15
    assert not colors or np.array_equal(back.colors, data.colors)
    assert [path.name for path in tmp_path.iterdir()] == ["a.obj"]
    write_mesh(tmp_path / "b.obj", replace(data, uvs=None, uv_faces=None))
    same(read_mesh(tmp_path / "b.obj"), replace(data, uvs=None, uv_faces=None), 1e-15)


@pytest.mark.row(159)
def test_obj_materials_and_pictures_round_trip(tmp_path):
    rng = np.random.default_rng(1)
    picture = srgb_to_linear(rng.integers(0, 256, (4, 6, 3)) / 255).astype(np.float32)
    rough = (rng.integers(0, 256, (4, 6, 1)) / 255).astype(np.float32)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "paint.png", picture)
    materials = (
        MaterialData("plain one", "lambert", {"albedo": (0.1, 0.2, 0.3)}),
        MaterialData("plain_one", "blinn_phong", {"albedo": 0.5, "specular": (0.5, 0.25, 0.125), "shininess": 20.5}),
        MaterialData("painted", "metallic_roughness", {"albedo": picture, "roughness": rough, "metallic": 0.25}),
        MaterialData("file", "lambert", {"albedo": tmp_path / "in" / "paint.png"}),
    )
    (tmp_path / "out").mkdir()
    write_mesh(tmp_path / "out" / "a.obj", cube(materials))
    back = read_mesh(tmp_path / "out" / "a.obj")
    assert np.array_equal(back.face_materials, cube(materials).face_materials)
    first, second, third, fourth = back.materials
    assert (first.name, second.name) == ("plain_one", "plain_one_1")
    assert first.type == "lambert"
    assert first.values == {"albedo": (0.1, 0.2, 0.3)}
    assert second.type == "blinn_phong"
    assert second.values == {"albedo": (0.5, 0.5, 0.5), "specular": (0.5, 0.25, 0.125), "shininess": 20.5}
    assert third.type == "metallic_roughness"
    assert np.abs(read_image(third.values["albedo"]) - picture).max() < 1e-6
    assert np.abs(read_texture(third.values["roughness"], 1) - rough).max() < 1e-6
    assert third.values["metallic"] == 0.25
    assert np.abs(read_image(fourth.values["albedo"]) - picture).max() < 1e-6
    assert all(path.parent == tmp_path / "out" for path in (third.values["albedo"], fourth.values["albedo"]))


def test_obj_as_others_write_it(tmp_path):
    path = tmp_path / "a.obj"
    lines = ["# a comment \\", "mtllib none.mtl", "o thing", "v 0 0 0 # origin", "v\t2  0 0", "v 2 2 0", "v 0 2 0"]
    lines += ["vt 0 0 0", "vt 1", "g a b", "s off", "usemtl red", "f -4/1 -3/2/ -2 -1//", "l 1 2", "v 0 0 1"]
    lines += ["usemtl blue", "f 1 2 \\", "5", ""]
    path.write_bytes("\r\n".join(lines).replace(" \\\r\n", " \\\n").encode())
    with pytest.warns(MeshWarning, match="none.mtl"):
        data = read_mesh(path)
    assert data.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4]]
    assert data.uvs[data.uv_faces].tolist()[0] == [[0, 0], [1, 0], [0, 0]]
    assert data.face_materials.tolist() == [0, 0, 1]
    assert [material.name for material in data.materials] == ["red", "blue"]
    assert data.normals is None


def test_obj_colours_are_linear_or_bytes(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("v 0 0 0 0.5 0.25 1\nv 1 0 0 0 0 0\nv 0 1 0\nf 1 2 3\n")
    assert read_mesh(path).colors.tolist() == [[0.5, 0.25, 1], [0, 0, 0], [1, 1, 1]]
    path.write_text("v 0 0 0 255 128 0\nv 1 0 0 0 0 0\nv 0 1 0\nf 1 2 3\n")
    assert np.allclose(read_mesh(path).colors, [[1, srgb_to_linear(128 / 255), 0], [0, 0, 0], [1, 1, 1]])


def test_mtl_as_others_write_it(tmp_path):
    (tmp_path / "a pic.png").write_bytes(b"kept for later")
    (tmp_path / "a.mtl").write_text(
        "newmtl red\nKd 1 0 0 # red\nKs 0 0 0\nNs 10\nillum 2\nd 1\nKa 1 1 1\n"
        "newmtl tex\nKd 0 0 0\nmap_Kd -s 1 1 1 -clamp on -o 0.5 a pic.png\nKs 0.5 0.5 0.5\nNs 30\nillum 1\n"
    )
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\nusemtl tex\nf 1 3 2\n"
    )
    red, tex = read_mesh(tmp_path / "a.obj").materials
    assert (red.type, red.values) == ("lambert", {"albedo": (1.0, 0.0, 0.0)})
    assert (tex.type, tex.values) == ("lambert", {"albedo": tmp_path.resolve() / "a pic.png"})
    (tmp_path / "a pic.png").unlink()
    with pytest.raises(FileError, match=r"a\.mtl:10: file 'a pic\.png' is missing"):
        read_mesh(tmp_path / "a.obj")


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_forms_agree(tmp_path, form):
    (tmp_path / "a.ply").write_bytes(ply(form))
    data = read_mesh(tmp_path / "a.ply")
    assert np.array_equal(data.vertices, VERTICES)
    assert np.array_equal(data.faces, FACES)
    (tmp_path / "a.ply").write_bytes(ply(form, triangle="4 0 1 2 3"))
    assert len(read_mesh(tmp_path / "a.ply").faces) == 5


def test_ply_round_trip(tmp_path):
    data = cube(colors=True)
    write_mesh(tmp_path / "a.ply", data)
    back = read_mesh(tmp_path / "a.ply")
    assert np.array_equal(back.vertices, data.vertices)
    assert np.array_equal(back.faces, data.faces)
    assert np.abs(back.uvs[back.uv_faces] - data.uvs[data.uv_faces]).max() < 1e-6
    assert np.abs(linear_to_srgb(back.colors) - linear_to_srgb(data.colors)).max() <= 0.5 / 255 + 1e-9
    smooth = replace(
        data, uvs=data.vertices[:, :2], uv_faces=data.faces, normals=data.vertices - 1, normal_faces=data.faces
    )
    write_mesh(tmp_path / "b.ply", smooth)
    same(read_mesh(tmp_path / "b.ply"), read_mesh(tmp_path / "b.ply"))
    back = read_mesh(tmp_path / "b.ply")
    lengths = np.linalg.norm(smooth.normals, axis=1, keepdims=True)
    same(back, replace(smooth, normals=smooth.normals / lengths, colors=back.colors), 1e-6)


def test_ply_colours(tmp_path):
    def write(kind: str, value: str) -> np.ndarray:
        head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        head += "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
        head += "element face 1\nproperty list uchar uint vertex_index\nend_header\n"
        rows = "".join(f"{point} {value} {value} {value}\n" for point in ("0 0 0", "1 0 0", "0 1 0"))
        (tmp_path / "a.ply").write_text(head + rows + "3 0 1 2\n")
        return read_mesh(tmp_path / "a.ply").colors

    assert np.allclose(write("uchar", "128"), srgb_to_linear(128 / 255))
    assert np.allclose(write("float", "0.5"), 0.5)
    with pytest.raises(FileError, match="red is 300"):
        write("uchar", "300")


def test_a_point_cloud_is_no_mesh(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    (tmp_path / "a.ply").write_text(head + "0 0 0\n")
    with pytest.raises(FileError, match="points or gaussians"):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.parametrize("data", [stl_ascii(), stl_binary()], ids=["ascii", "binary"])
def test_stl_is_welded(tmp_path, data):
    (tmp_path / "a.stl").write_bytes(data)
    mesh = read_mesh(tmp_path / "a.stl")
    assert mesh.vertices.shape == (4, 3)
    same(mesh, MeshData(VERTICES.astype(float), FACES.astype(int)))


@pytest.mark.row(172)
def test_glb_round_trip_keeps_the_surface_whole(tmp_path):
    picture = srgb_to_linear(np.random.default_rng(2).integers(0, 256, (4, 4, 3)) / 255).astype(np.float32)
    rough = np.full((2, 2, 1), 51 / 255, np.float32)
    values = {"albedo": picture, "roughness": rough, "metallic": 0.2}
    materials = (
        MaterialData("a", "metallic_roughness", values),
        MaterialData("b", "lambert", {"albedo": (0.1, 0.2, 0.3)}),
    )
    data = cube(materials, colors=True)
    write_mesh(tmp_path / "a.glb", data)
    back = read_mesh(tmp_path / "a.glb")
    assert back.vertices.shape == (8, 3)
    same(back, data, 1e-6)
    first, second = back.materials
    assert np.abs(first.values["albedo"] - picture).max() < 1e-6
    assert np.abs(first.values["roughness"] - 51 / 255).max() < 1e-6
    assert np.abs(first.values["metallic"] - 51 / 255).max() < 1e-6
    assert second.values == {"albedo": (0.1, 0.2, 0.3), "roughness": 1.0, "metallic": 0.0}
    assert [material.name for material in back.materials] == ["a", "b"]


def test_gltf_nodes_are_baked(tmp_path):
    body = gltf_json()
    half = 0.5**0.5
    body["nodes"] = [
        {"children": [1, 2], "translation": [0, 0, 5], "scale": [2, 2, 2]},
        {"mesh": 0, "rotation": [0, 0, half, half]},
        {"mesh": 0, "scale": [-1, 1, 1]},
    ]
    (tmp_path / "a.gltf").write_text(json.dumps(body))
    data = read_mesh(tmp_path / "a.gltf")
    assert len(data.faces) == 8
    turned = VERTICES @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) * 2 + [0, 0, 5]
    assert np.allclose(data.vertices[data.faces[:4]], turned[FACES])
    a, b, c = (data.vertices[data.faces[4:, k]] for k in range(3))
    # A mirrored tetrahedron keeps its outside outside.
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a - data.vertices[data.faces[4:]].mean((0, 1))) > 0).all()


def test_gltf_strips_fans_and_points(tmp_path):
    def faces(mode: int, indices: list[int]) -> list:
        body = gltf_json(embed=False)
        body["meshes"][0]["primitives"][0]["mode"] = mode
        body["accessors"][1]["count"] = len(indices)
        data = VERTICES.tobytes() + np.array(indices, "<u4").tobytes().ljust(48, b"\0")
        (tmp_path / "a.glb").write_bytes(glb(body, data))
        return read_mesh(tmp_path / "a.glb").faces.tolist()

    assert faces(5, [0, 1, 2, 3]) == [[0, 1, 2], [1, 3, 2]]
    assert faces(6, [0, 1, 2, 3]) == [[0, 1, 2], [0, 2, 3]]
    with pytest.warns(MeshWarning, match="points or lines"), pytest.raises(FileError, match="no triangle mesh"):
        faces(0, [0, 1, 2])


def test_gltf_colours_and_factors(tmp_path):
    body = gltf_json(embed=False)
    colors = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [51, 51, 51, 255]], np.uint8)
    body["bufferViews"].append({"buffer": 0, "byteOffset": 96, "byteLength": 16})
    body["accessors"].append({"bufferView": 2, "componentType": 5121, "count": 4, "type": "VEC4", "normalized": True})
    body["buffers"][0]["byteLength"] = 112
    body["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2
    body["meshes"][0]["primitives"][0]["material"] = 0
    body["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.2, 0.3, 1], "roughnessFactor": 0.7}}]
    (tmp_path / "a.glb").write_bytes(glb(body, gltf_buffer() + colors.tobytes()))
    data = read_mesh(tmp_path / "a.glb")
    assert np.allclose(data.colors, colors[:, :3] / 255)
    assert data.materials[0].values == {"albedo": (0.1, 0.2, 0.3), "roughness": 0.7, "metallic": 1.0}


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_trimesh_reads_what_is_written(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    data = cube((MaterialData("paint", "lambert", {"albedo": np.full((2, 2, 3), 0.5, np.float32)}),))
    write_mesh(tmp_path / f"a{suffix}", data)
    loaded = trimesh.load_mesh(tmp_path / f"a{suffix}")
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    assert loaded.is_watertight
    assert np.isclose(loaded.volume, 1 / 27)
    assert np.isclose(loaded.area, 6 / 9)
    assert len(from_trimesh(loaded).faces) == 12


def test_polygons_are_cut_without_turning_over():
    arrow = np.array([[0, 0, 0], [2, 1, 0], [0, 2, 0], [1, 1, 0]], float)  # concave at its last corner
    for start in range(4):
        triangles, _ = triangulate("x", np.roll(arrow, start, 0), np.array([4]))
        a, b, c = (np.roll(arrow, start, 0)[triangles[:, k]] for k in range(3))
        assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = np.where(np.arange(24) % 2, 1.0, 0.4)
    star = np.stack([radius * np.cos(angles), radius * np.sin(angles), angles * 0], 1)
    for axes in ([0, 1, 2], [2, 0, 1], [1, 2, 0], [1, 0, 2], [0, 2, 1], [2, 1, 0]):
        points = star[:, axes]
        triangles, owner = triangulate("x", np.concatenate([points, points[:3]]), np.array([24, 3]))
        a, b, c = (points[triangles[:22, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        assert np.isclose(np.linalg.norm(normals.sum(0)), np.linalg.norm(normals, axis=1).sum())
        assert np.isclose(np.linalg.norm(normals, axis=1).sum() / 2, 12 * 0.4 * np.sin(np.pi / 12))
        assert owner.tolist() == [0] * 22 + [1]


def test_weld_keeps_the_order():
    first, which = weld(np.array([[1.0], [0.0], [1.0], [-0.0], [2.0]]))
    assert first.tolist() == [0, 1, 4]
    assert which.tolist() == [0, 1, 0, 1, 2]


def test_errors_name_line_and_suffix(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 nan\nf 1 2 3\n")
    with pytest.raises(FileError, match=r"a\.obj:3: vertex"):
        read_mesh(path)
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2 4\n")
    with pytest.raises(FileError, match=r"a\.obj:5: face 1 has vertex index 4, the file has 3"):
        read_mesh(path)
    with pytest.raises(FileError, match="limit is 2"):
        read_mesh(path, Limits(vertices=2))
    for function in (read_mesh, lambda path: write_mesh(path, cube())):
        with pytest.raises(FileError, match=r"unknown kind of mesh '\.fbx'"):
            function(tmp_path / "a.fbx")
    with pytest.raises(FileError):
        write_mesh(tmp_path / "b.obj", replace(cube(), vertices=np.full((8, 3), np.nan)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.obj"]


@pytest.mark.skipif(not ASSETS.is_dir(), reason="../shared/assets is not here")
def test_trial_meshes_load():
    expected = {"spot/spot.obj": (2930, 5856), "fish/fish.obj": (10786, 21568), "torus/torus.obj": (2304, 4608)}
    expected |= {"avocado/avocado.gltf": (None, 682), "penguin/penguin.obj": (3362, 6720)}
    for name, (vertices, faces) in expected.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = read_mesh(ASSETS / name)
        assert vertices is None or len(data.vertices) == vertices
        assert len(data.faces) == faces
    spot = read_mesh(ASSETS / "spot/spot.obj")
    assert len(spot.uvs) == 3225
    assert spot.uv_faces.shape == spot.faces.shape
