"""Surfaces out of grids and functions: closed, right in volume, and their vertices differentiable."""

import numpy as np
import pytest

from tidr import extract
from tidr.array import Array
from tidr.errors import SceneError
from tidr.kernels.implicit import marching_cubes as cubes
from tidr.kernels.implicit import marching_tetrahedra as tetrahedra
from tidr.scene.graph import Node
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.voxels import VoxelGrid, cell_centers

from .gradients import directional_check, weighted


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def edge_use(faces: np.ndarray) -> tuple[set[int], int, int]:
    """(how many faces the edges have, the most that run one way, Euler characteristic)."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    one_way = np.unique(ends, axis=0, return_counts=True)[1]
    edges, counts = np.unique(np.sort(ends, 1), axis=0, return_counts=True)
    return set(counts.tolist()), int(one_way.max()), len(np.unique(faces)) - len(edges) + len(faces)


def ball(n: int, radius: float = 0.7) -> np.ndarray:
    return np.linalg.norm(cell_centers((n, n, n)), axis=-1) - radius


@pytest.mark.row(133)
def test_the_table_covers_all_cases():
    triangles, counts = cubes.table()
    assert counts.max() == 5
    assert counts[0] == counts[255] == 0
    for case in range(1, 255):
        used = np.unique(triangles[case, : counts[case]])
        crossed = [k for k, (c, a) in enumerate(cubes.EDGES) if (case >> c & 1) != (case >> (c | 1 << a) & 1)]
        assert used.tolist() == crossed


@pytest.mark.row(133)
@pytest.mark.parametrize("seed", range(4))
def test_random_fields_give_closed_surfaces(f32, seed):
    """Every ambiguous case, also against the border: two faces an edge, one each way."""
    values = np.random.default_rng(seed).normal(size=(7, 8, 9))
    for side in ("below", "above"):
        found = extract.marching_cubes(values, 0.1, inside=side)
        assert edge_use(found.faces)[:2] == ({2}, 1)
        assert volume(found.vertices.numpy(), found.faces) > 0
    padded = np.pad(values < 0, 1)
    ends, faces = cubes.find(padded)
    assert edge_use(faces)[:2] == ({2}, 1)
    assert (padded.ravel()[ends[:, 0]] != padded.ravel()[ends[:, 1]]).all()
    _, tets = tetrahedra.grid((8, 9, 10))
    assert edge_use(tetrahedra.find(padded.ravel(), tets)[1])[:2] == ({2}, 1)


@pytest.mark.row(133)
@pytest.mark.row(132)
def test_ball_is_a_sphere_and_its_volume_converges(f64):
    exact, errors = 4 / 3 * np.pi * 0.7**3, []
    for n in (16, 32, 64):
        found = extract.marching_cubes(ball(n))
        assert edge_use(found.faces) == ({2}, 1, 2)
        errors.append(abs(volume(found.vertices.numpy(), found.faces) / exact - 1))
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    assert errors[2] < 2e-3


@pytest.mark.row(133)
def test_vertices_lie_on_the_level_of_a_plane(f64):
    centers = cell_centers((5, 6, 7), (0, 0, 0), (7, 6, 5))
    plane = centers @ np.array([0.3, -0.5, 0.8]) - 1.1
    found = extract.marching_cubes(plane, 0.2, (0, 0, 0), (7, 6, 5), closed=False)
    assert np.allclose(found.vertices.numpy() @ np.array([0.3, -0.5, 0.8]) - 1.1, 0.2)
    a, b, c = (found.vertices.numpy()[found.faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a) @ np.array([0.3, -0.5, 0.8]) >= -1e-12).all()


@pytest.mark.row(133)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_of_marching_cubes(backend, seed):
    rng = np.random.default_rng(seed)
    values = ball(6) + 0.05 * rng.normal(size=(6, 6, 6))
    values += 0.06 * np.sign(values)  # no sample changes sides within a difference
    array = Array.of(values)
    grid = VoxelGrid(sdf=values)
    weights = rng.normal(size=(len(extract.marching_cubes(values).extraction.ends), 3))
    for holder in (grid.values, _parameter(array)):
        directional_check(
            lambda holder=holder: weighted(extract.marching_cubes(holder).vertices, weights), [holder], backend, seed
        )


def _parameter(array: Array):
    from tidr.parameter import Parameter

    return Parameter(array.numpy())


def test_no_surface(f32):
    for value in (1.0, 0.0):
        found = extract.marching_cubes(np.full((4, 4, 4), value))
        assert found.faces.shape == (0, 3)
        with pytest.raises(SceneError, match="no surface"):
            found.mesh()
    full = extract.marching_cubes(np.full((3, 3, 3), -1.0))
    assert edge_use(full.faces) == ({2}, 1, 2)
    assert not len(extract.marching_cubes(np.full((1, 1, 1), -1.0), closed=False).faces)


@pytest.mark.row(84)
@pytest.mark.row(132)
def test_mesh_of_anything(f32):
    """A function's level, a grid, tetrahedra and a node give the same ball."""
    exact = 4 / 3 * np.pi * 0.7**3
    density = extract.mesh_of(lambda p: 30 * (0.7 - np.linalg.norm(p, axis=1)), (40, 40, 40), level=0)
    corners = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 3, indexing="ij"), -1), axis=-1) - 0.7
    sources = [
        VoxelGrid(sdf=ball(32)),
        VoxelGrid(sdf=ball(32)).to_occupancy(),
        Tetrahedra(corners),
        Node(VoxelGrid(sdf=ball(32))),
        Mesh(*icosphere(4, 0.7)),
    ]
    for mesh in [density, *(extract.mesh_of(source) for source in sources)]:
        assert volume(mesh.vertices.numpy(), mesh.faces) == pytest.approx(exact, rel=0.02)
        assert edge_use(mesh.faces) == ({2}, 1, 2)


def test_faults_are_named(f32):
    with pytest.raises(SceneError, match="not finite"):
        extract.marching_cubes(np.full((3, 3, 3), np.nan))
    with pytest.raises(SceneError, match=r"\[D, H, W\]"):
        extract.marching_cubes(np.zeros((3, 3)))
    with pytest.raises(SceneError, match="below or above"):
        extract.marching_cubes(np.zeros((3, 3, 3)), inside="left")
    with pytest.raises(SceneError, match="level"):
        extract.mesh_of(lambda p: p[:, 0])
    with pytest.raises(SceneError, match="one value a point"):
        extract.mesh_of(lambda p: p, 8, level=0)
    with pytest.raises(SceneError, match="resolution"):
        extract.mesh_of(lambda p: p[:, 0], 1, level=0)
