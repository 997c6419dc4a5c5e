"""Quads: cut into two triangles each, and written as quads again."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.files.guard import MeshWarning
from tidr.files.mesh import read_mesh, write_mesh
from tidr.scene.mesh_data import MaterialData, MeshData
from tidr.scene.quads import cut_quads, quad_corners

ARROW = np.array([[0, 0, 0], [2, 1, 0], [0, 2, 0], [1, 1, 0]], float)  # its last corner points inwards
BOX = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4]]
LAST = [[1, 5, 7], [1, 7, 3]]  # the sixth side as two triangles that are no quad
OBJ = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in BOX) + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvn 0 0 1\n"


def as_text(faces: list[list[int]]) -> str:
    """OBJ lines of faces whose corners have the uvs 1 to 4 and the one normal."""
    return "".join(f"f {' '.join(f'{v + 1}/{k + 1}/1' for k, v in enumerate(face))}\n" for face in faces)


@pytest.mark.row(119)
@pytest.mark.parametrize("start", range(4))
def test_a_quad_becomes_two_triangles_that_cover_it_and_the_way_back_goes_around_it(start):
    points = np.roll(ARROW, start, axis=0)
    triangles = cut_quads(points, np.arange(4)[None])[0]
    a, b, c = points[triangles].swapaxes(0, 1)
    twice = np.cross(b - a, c - a)[:, 2]
    assert (twice > 0).all()
    assert twice.sum() == 2.0
    around = triangles.ravel()[quad_corners(triangles, np.array([0]))[0]]
    assert around.tolist() == [0, 1, 2, 3]


@pytest.mark.row(119)
def test_a_mesh_of_quads_is_one_of_twice_as_many_triangles(f32):
    uvs = np.random.default_rng(0).random((20, 2))
    quads, corners = np.array(SIDES), np.arange(20).reshape(5, 4)
    mesh = tidr.Mesh(BOX, quads, uvs=uvs, uv_faces=corners, face_materials=np.arange(5))
    assert mesh.faces.tolist()[:2] == [[0, 1, 3], [0, 3, 2]]
    assert mesh.uv_faces is not None
    assert mesh.uv_faces.tolist()[2:4] == [[4, 5, 6], [4, 6, 7]]
    assert mesh.face_materials.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    around = quad_corners(mesh.faces, np.arange(0, 10, 2))
    np.testing.assert_array_equal(mesh.quads, np.arange(0, 10, 2))
    np.testing.assert_array_equal(mesh.faces.ravel()[around], quads)
    np.testing.assert_array_equal(mesh.uv_faces.ravel()[around], corners)
    with pytest.raises(SceneError, match="face 1 is"):
        tidr.Mesh(BOX, [[0, 1, 3, 2], [4, 6, 8, 5]])
    with pytest.raises(SceneError, match="a vertex twice"):
        tidr.Mesh(BOX, [[0, 1, 3, 1]])


@pytest.mark.row(119)
@pytest.mark.parametrize("kind", [".obj", ".ply"])
def test_quads_and_triangles_come_back_from_a_file_as_they_were(tmp_path, kind):
    (tmp_path / "a.obj").write_text(OBJ + as_text([*SIDES[:3], *LAST, *SIDES[3:]]))
    read = read_mesh(tmp_path / "a.obj")
    assert len(read.faces) == 12
    np.testing.assert_array_equal(read.quads, [0, 2, 4, 8, 10])
    write_mesh(tmp_path / f"b{kind}", read)
    again = read_mesh(tmp_path / f"b{kind}")
    for name in ("vertices", "faces", "quads"):
        np.testing.assert_array_equal(getattr(again, name), getattr(read, name))
    one, other = (mesh.uvs[mesh.uv_faces] for mesh in (again, read) if mesh.uvs is not None)
    np.testing.assert_array_equal(one, other)
    if kind == ".obj":
        lines = [line for line in (tmp_path / "b.obj").read_text().splitlines() if line.startswith("f")]
        assert "\n".join(lines) + "\n" == as_text([*SIDES[:3], *LAST, *SIDES[3:]])
    else:
        assert b"element face 7\n" in (tmp_path / "b.ply").read_bytes()


@pytest.mark.row(119)
def test_what_is_no_quad_any_more_is_written_as_triangles(tmp_path):
    (tmp_path / "a.obj").write_text(OBJ + as_text([[0, 1, 1, 3], [0, 1, 3, 1], *SIDES[1:3]]))
    with pytest.warns(MeshWarning, match="3 degenerate"):
        read = read_mesh(tmp_path / "a.obj")
    assert read.quads is not None
    assert read.quads.tolist() == [1, 3]
    np.testing.assert_array_equal(read.faces.ravel()[quad_corners(read.faces, read.quads)], SIDES[1:3])
    materials = (MaterialData("a"), MaterialData("b"))
    faces, each = np.array([[0, 1, 3], [0, 3, 2]]), np.array([0, 1])
    write_mesh(tmp_path / "b.obj", MeshData(BOX, faces, face_materials=each, materials=materials, quads=each[:1]))
    lines = (tmp_path / "b.obj").read_text().splitlines()
    assert [line for line in lines if line.startswith("f ")] == ["f 1 2 4", "f 1 4 3"]


@pytest.mark.row(119)
def test_a_scene_writes_a_moved_quad_mesh_as_quads(f32, tmp_path):
    scene = tidr.Scene()
    scene.add_node("box", tidr.Node(tidr.Mesh(BOX, SIDES)))
    scene.nodes["box"].mesh.vertices.set(BOX * 2)
    tidr.write_scene(scene, tmp_path / "scene.toml")
    (file,) = tmp_path.rglob("*.obj")
    lines = [line for line in file.read_text().splitlines() if line.startswith("f ")]
    assert lines == ["f " + " ".join(str(v + 1) for v in side) for side in SIDES]
    np.testing.assert_array_equal(read_mesh(file).vertices, BOX * 2)
