"""The generated models in scenes/assets: closed, outward, charted without overlap, and reproducible."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tidr.files.mesh import read_mesh

SCENES = Path(__file__).resolve().parents[1] / "scenes"
ASSETS = SCENES / "assets"
CLOSED = ("duck.glb", "cube.obj", "bracket.obj")
CHARTED = ("duck.glb", "cube.obj")
WALLS = {
    "floor": (0, 1, 0),
    "ceiling": (0, -1, 0),
    "back": (0, 0, 1),
    "left": (1, 0, 0),
    "right": (-1, 0, 0),
    "light": (0, -1, 0),
}


def read_model(name):
    """Vertices [V, 3], faces [F, 3], uvs [T, 2], uv faces [F, 3] (or None) of a triangle OBJ or of a GLB."""
    if name.endswith(".glb"):
        data = read_mesh(ASSETS / name)
        return data.vertices, data.faces, data.uvs, data.uv_faces
    rows = {"v": [], "vt": [], "f": []}
    for line in (ASSETS / name).read_text(encoding="ascii").splitlines():
        key, *values = line.split()
        if key in rows:
            rows[key].append(values)
    corners = [[corner.split("/") for corner in face] for face in rows["f"]]
    faces = np.array([[int(corner[0]) for corner in face] for face in corners]) - 1
    uv_faces = np.array([[int(corner[1]) for corner in face] for face in corners]) - 1 if rows["vt"] else None
    return np.array(rows["v"], float), faces, np.array(rows["vt"], float), uv_faces


def face_vectors(vertices, faces):
    """Normals of twice the triangles' areas, [F, 3]."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def volume(vertices, faces):
    return float((vertices[faces[:, 0]] * face_vectors(vertices, faces)).sum() / 6)


def directed_edges(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def check_sphere(vertices, faces):
    """Closed, oriented and manifold, in one piece, of Euler characteristic 2, outside out."""
    edges = directed_edges(faces)
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges)
    assert all((b, a) in forward for a, b in forward)
    assert np.array_equal(np.unique(faces), np.arange(len(vertices)))
    assert len(vertices) - len(edges) // 2 + len(faces) == 2
    reached = np.arange(len(vertices))
    for _ in range(len(vertices)):
        smaller = reached.copy()
        np.minimum.at(smaller, edges[:, 0], reached[edges[:, 1]])
        if np.array_equal(smaller, reached):
            break
        reached = smaller
    assert np.all(reached == 0)
    assert volume(vertices, faces) > 0


def uv_coverage(uvs, uv_faces, size):
    """How many triangles hold each texel's centre (a hair inside their edges), int [size, size]."""
    count = np.zeros((size, size), int)
    for a, b, c in uvs[uv_faces] * size:
        low = np.floor(np.minimum(np.minimum(a, b), c)).astype(int)
        high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = np.ones_like(x, bool)
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) > 1e-4
        count[low[1] : high[1], low[0] : high[0]] += inside
    return count


@pytest.mark.parametrize("name", CLOSED)
def test_closed_and_outward(name):
    vertices, faces, _, _ = read_model(name)
    assert np.isfinite(vertices).all()
    assert np.linalg.norm(face_vectors(vertices, faces), axis=1).min() > 1e-5
    check_sphere(vertices, faces)


@pytest.mark.parametrize("name", CHARTED)
def test_texture_charts(name):
    _, _, uvs, uv_faces = read_model(name)
    assert uvs.min() >= 0
    assert uvs.max() <= 1
    a, b, c = (uvs[uv_faces[:, k]] for k in range(3))
    doubled = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert doubled.min() > 1e-4  # none is empty, none is mirrored
    count = uv_coverage(uvs, uv_faces, 509)  # a prime: no centre lies on an edge
    assert count.max() == 1
    assert count.mean() == pytest.approx(doubled.sum() / 2, abs=0.005)


def test_duck_shape():
    vertices, faces, uvs, _ = read_model("duck.glb")
    assert 3000 <= len(faces) <= 5000
    assert len(vertices) == len(faces) // 2 + 2  # welded across the texture's seam
    assert len(uvs) > len(vertices)
    assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(0.95, abs=1e-4)
    assert np.abs(vertices.min(0) + vertices.max(0)).max() < 1e-4
    across = face_vectors(vertices, faces)
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces.ravel(), np.repeat(across, 3, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    directions = across / np.linalg.norm(across, axis=1, keepdims=True)
    assert (directions[:, None] * normals[faces]).sum(-1).min() > 0.5  # no fold
    sides = vertices[faces] - vertices[np.roll(faces, 1, axis=1)]
    quality = 2 * np.sqrt(3) * np.linalg.norm(across, axis=1) / (sides**2).sum((1, 2))  # 1: equilateral
    assert quality.min() > 0.2
    assert np.median(quality) > 0.9


def test_duck_texture():
    texture = np.asarray(Image.open(ASSETS / "duck.png").convert("RGB"))
    assert texture.shape == (512, 512, 3)
    vertices, faces, uvs, uv_faces = read_model("duck.glb")
    centres = uvs[uv_faces].mean(1)
    row, column = ((1 - centres[:, 1]) * 512).astype(int), (centres[:, 0] * 512).astype(int)
    colours, places = texture[row, column].astype(int), vertices[faces].mean(1)
    # The bill (orange, little green) points to +Z and the yellow tail to -Z; eyes are black, the scarf is blue.
    assert np.all(colours[places[:, 2] > 0.8][:, 1] < 130)
    assert np.all(colours[places[:, 2] < -0.8][:, 1] > 140)
    assert (colours.max(1) < 60).sum() > 10
    assert ((colours[:, 2] > 150) & (colours[:, 0] < 100)).sum() > 50


def test_duck_texture_meets_at_the_seam():
    texture = np.asarray(Image.open(ASSETS / "duck.png").convert("RGB")).astype(float)
    _, faces, uvs, uv_faces = read_model("duck.glb")
    x, y = uvs[:, 0] * 512 - 0.5, (1 - uvs[:, 1]) * 512 - 0.5
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    s, t = (x - column)[:, None], (y - row)[:, None]
    colours = (1 - t) * ((1 - s) * texture[row, column] + s * texture[row, column + 1])
    colours += t * ((1 - s) * texture[row + 1, column] + s * texture[row + 1, column + 1])
    low, high = np.full((faces.max() + 1, 3), 255.0), np.zeros((faces.max() + 1, 3))
    np.minimum.at(low, faces.ravel(), colours[uv_faces.ravel()])
    np.maximum.at(high, faces.ravel(), colours[uv_faces.ravel()])
    assert (high - low).max() < 8


def test_cube_is_welded():
    vertices, faces, uvs, _ = read_model("cube.obj")
    assert (len(vertices), len(faces), len(uvs)) == (8, 12, 24)
    assert volume(vertices, faces) == pytest.approx(1)


def test_bracket_has_no_symmetry():
    vertices, faces, _, _ = read_model("bracket.obj")
    assert 50 <= len(faces) <= 400
    across = face_vectors(vertices, faces)
    areas, centres = np.linalg.norm(across, axis=1), vertices[faces].mean(1)
    centres = centres - np.average(centres, axis=0, weights=areas)
    spread, axes = np.linalg.eigh(np.cov(centres.T, aweights=areas))
    assert (spread[1:] / spread[:-1]).min() > 1.1
    along = centres @ axes
    skew = np.average(along**3, axis=0, weights=areas) / spread**1.5
    assert np.abs(skew).min() > 0.05


@pytest.mark.parametrize("name", WALLS)
def test_cornell_walls_face_the_room(name):
    vertices, faces, _, _ = read_model(f"cornell/{name}.obj")
    across = face_vectors(vertices, faces)
    assert np.allclose(across / np.linalg.norm(across, axis=1, keepdims=True), WALLS[name])
    assert np.abs(vertices).max() <= 1


@pytest.mark.parametrize(("name", "height"), [("tall_box", 1.2), ("short_box", 0.6)])
def test_cornell_boxes_stand_on_the_floor(name, height):
    vertices, faces, _, _ = read_model(f"cornell/{name}.obj")
    welded, vertex_of = np.unique(vertices, axis=0, return_inverse=True)
    check_sphere(welded, vertex_of.reshape(-1)[faces])
    assert vertices[:, 1].min() == -1
    assert vertices[:, 1].max() == pytest.approx(height - 1)
    assert np.abs(vertices[:, [0, 2]]).max() < 0.95


def test_generator_writes_the_committed_files(tmp_path):
    subprocess.run([sys.executable, str(SCENES / "make_models.py"), str(tmp_path)], check=True, timeout=120)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(made) == 12
    for path in made:
        if path.suffix == ".png":  # pixels: compressors differ between releases of zlib
            assert np.array_equal(*(np.asarray(Image.open(root / path).convert("RGB")) for root in (tmp_path, ASSETS)))
        else:
            assert (tmp_path / path).read_bytes() == (ASSETS / path).read_bytes(), path


def test_files_are_small_and_accounted_for():
    assert (ASSETS / "duck.glb").stat().st_size < 100_000
    assert (ASSETS / "duck.png").stat().st_size < 60_000
    notes = (ASSETS / "LICENSES.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in notes
    assert all(name in notes for name in (*CLOSED, "duck.png", "cornell"))
