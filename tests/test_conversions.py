"""Meshes, voxels, points, signed distances and tetrahedra into each other: volume kept, surfaces closed."""

import numpy as np
import pytest

from tidr import extract
from tidr.errors import SceneError
from tidr.scene import conversions
from tidr.scene.graph import Node
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.voxels import VoxelGrid, cell_centers

from .reference.implicit import point_triangle
from .test_extract import edge_use, volume


def cube(half: float = 0.5) -> Mesh:
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * half
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    return Mesh(corners, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3))


def ring() -> Mesh:
    u, v = np.meshgrid(np.arange(40) * 2 * np.pi / 40, np.arange(20) * 2 * np.pi / 20, indexing="ij")
    points = np.stack(
        [(0.6 + 0.25 * np.cos(v)) * np.cos(u), (0.6 + 0.25 * np.cos(v)) * np.sin(u), 0.25 * np.sin(v)], -1
    )
    rows = np.arange(800).reshape(40, 20)
    a, b = rows, np.roll(rows, -1, 0)
    c, d = np.roll(b, -1, 1), np.roll(rows, -1, 1)
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return Mesh(points.reshape(-1, 3), faces)


def ball() -> Mesh:
    return Mesh(*icosphere(3, 0.7))


SHAPES = {"ball": (ball, 2), "ring": (ring, 0), "cube": (cube, 2)}


@pytest.mark.row(132)
def test_distance_is_that_of_brute_force(backend):
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(9, 3)), rng.integers(0, 9, (12, 3)).astype(np.int32)
    shape = (4, 5, 6)
    found, _ = conversions._unsigned(vertices, faces, shape, np.full(3, -1.5), np.full(3, 1.5))
    for cell in ((0, 0, 0), (1, 2, 3), (3, 4, 5), (2, 0, 4), (3, 1, 1)):
        p = cell_centers(shape, (-1.5,) * 3, (1.5,) * 3)[cell]
        exact = min(point_triangle(p, *vertices[face]) for face in faces)
        assert found[cell] == pytest.approx(exact, rel=1e-9 if backend.precision == 64 else 1e-4, abs=1e-5)


@pytest.mark.row(132)
@pytest.mark.parametrize("name", list(SHAPES))
def test_there_and_back(f32, name):
    """Mesh to distances, occupancy and tetrahedra, distances to tetrahedra, and points to distances: each to a mesh."""
    make, chi = SHAPES[name]
    mesh = make()
    exact = volume(mesh.vertices.numpy().astype(float), mesh.faces)
    grid = conversions.voxelize(mesh, 48)
    ways = {
        "sdf": grid,
        "tsdf": conversions.voxelize(Node(mesh), 48, kind="tsdf"),
        "occupancy": conversions.voxelize(mesh, 48, kind="occupancy"),
        "tetrahedra": conversions.tetrahedralize(mesh, 48),
        "sdf to tetrahedra": conversions.tetrahedralize(grid, 48),
        "points": conversions.points_to_grid(*conversions.sample_surface(mesh, 20000), 48),
    }
    for way, source in ways.items():
        back = extract.mesh_of(source)
        assert volume(back.vertices.numpy().astype(float), back.faces) == pytest.approx(exact, rel=0.02), way
        if way != "points" or name != "cube":  # tangent planes cross at sharp edges
            assert edge_use(back.faces) == ({2}, 1, chi), way


@pytest.mark.row(132)
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 10, 9)])
def test_inside_is_right_where_rays_meet_edges_and_corners(f32, shape):
    """Cell centres in line with the cube's edges and diagonals; and two cubes, one inside the other, as one mesh."""
    inside = conversions.winding(cube().vertices.numpy(), cube().faces, shape, (-1,) * 3, (1,) * 3)
    centers = np.abs(cell_centers(shape)).max(-1)
    clear = np.abs(centers - 0.5) > 1e-3
    assert (inside == (centers < 0.5))[clear].all()
    inner = cube(0.25)
    vertices = np.concatenate([cube().vertices.numpy(), inner.vertices.numpy()])
    twice = conversions.winding(vertices, np.concatenate([inner.faces, inner.faces + 8]), shape, (-1,) * 3, (1,) * 3)
    assert (twice == (centers < 0.5).astype(int) + (centers < 0.25))[clear & (np.abs(centers - 0.25) > 1e-3)].all()


@pytest.mark.row(133)
def test_points_lie_on_the_surface_evenly(f32):
    points, normals = conversions.sample_surface(cube(), 6000, seed=3)
    assert np.allclose(np.abs(points).max(1), 0.5)
    assert np.allclose((points * normals).sum(1), 0.5)
    sides = np.bincount(np.abs(points).argmax(1) * 2 + (points[np.arange(6000), np.abs(points).argmax(1)] > 0))
    assert np.abs(sides - 1000).max() < 120
    assert np.abs(points.mean(0)).max() < 0.02
    again, _ = conversions.sample_surface(cube(), 6000, seed=3)
    assert (again == points).all()


def test_faults_are_named(f32):
    sheet = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    with pytest.raises(SceneError, match="not closed"):
        conversions.voxelize(sheet)
    with pytest.raises(SceneError, match="kind"):
        conversions.voxelize(cube(), kind="mush")
    with pytest.raises(SceneError, match="resolution"):
        conversions.voxelize(cube(), (3, 3))
    with pytest.raises(SceneError, match="count"):
        conversions.sample_surface(cube(), 0)
    with pytest.raises(SceneError, match="give a mesh"):
        conversions.sample_surface(VoxelGrid(sdf=np.zeros((2, 2, 2))), 5)
    with pytest.raises(SceneError, match="points"):
        conversions.points_to_grid(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(SceneError, match="no area"):
        conversions.sample_surface(Mesh(np.zeros((3, 3)), [[0, 1, 2]]), 5)
