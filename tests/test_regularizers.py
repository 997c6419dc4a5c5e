"""Mesh energies: closed forms of methods F5, numpy twins, gradients; and the tables they stand on."""

import numpy as np
import pytest

from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting.regularizers import edge_length, laplacian, normal_consistency
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.topology import Topology

from .gradients import directional_check, tape_gradients

TETRAHEDRON = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
TETRAHEDRON_FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
CUBE = np.array([[x, y, z] for x in (0.0, 1) for y in (0, 1) for z in (0, 1)])
CUBE_FACES = np.array(
    [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]
).reshape(12, 3)


def flat_grid(n=5):
    y, x = np.mgrid[:n, :n]
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = (index[s, t].ravel() for s in (slice(-1), slice(1, None)) for t in (slice(-1), slice(1, None)))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1).astype(float)
    return vertices, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def bumpy(level=1, seed=0):
    vertices, faces = icosphere(level)
    return Mesh(vertices + np.random.default_rng(seed).normal(0, 0.08, vertices.shape), faces)


def cotangents(vertices, faces):
    """Dense weight matrix [V, V] and the area around each vertex [V]."""
    weights, areas = np.zeros((len(vertices),) * 2), np.zeros(len(vertices))
    for face in faces:
        a, b, c = vertices[face]
        areas[face] += np.linalg.norm(np.cross(b - a, c - a)) / 2
        for k in range(3):
            at, i, j = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
            u, w = vertices[i] - vertices[at], vertices[j] - vertices[at]
            weights[i, j] += u @ w / np.linalg.norm(np.cross(u, w))
            weights[j, i] = weights[i, j]
    return weights, areas


def frozen_laplacian(mesh, kind):
    """(function of vertices with weights held at the mesh's present shape)."""
    vertices = mesh.vertices.numpy().astype(np.float64)
    weights, areas = cotangents(vertices, mesh.faces)
    if kind == "uniform":
        weights = (weights != 0).astype(float)
    scale = 0.25 / areas if kind == "cotangent_curvature" else 1 / weights.sum(1)
    return lambda v: np.linalg.norm((weights @ v - weights.sum(1)[:, None] * v) * scale[:, None], axis=1).mean()


@pytest.mark.row(149, 152)
def test_tetrahedron(backend):
    mesh = Mesh(TETRAHEDRON, TETRAHEDRON_FACES)
    assert float(laplacian(mesh)) == pytest.approx(4 / 3, rel=1e-5)
    assert float(laplacian(mesh, "cotangent")) == pytest.approx(4 / 3, rel=1e-5)
    assert float(normal_consistency(mesh)) == pytest.approx(4 / 3, rel=1e-5)


@pytest.mark.row(148)
def test_edge_of_the_tetrahedron(backend):
    mesh = Mesh(TETRAHEDRON, TETRAHEDRON_FACES)
    assert float(edge_length(mesh)) == pytest.approx(8 / 3, rel=1e-5)
    assert float(edge_length(mesh, target=np.sqrt(8 / 3))) == pytest.approx(0, abs=1e-10)


@pytest.mark.row(150)
def test_normal_consistency_of_cube_and_plane(backend):
    cube = Mesh(CUBE, CUBE_FACES)
    assert len(cube.topology.edges) == 18
    assert float(normal_consistency(cube)) == pytest.approx(2 / 3, rel=1e-5)
    assert float(normal_consistency(Mesh(*flat_grid()))) == pytest.approx(0, abs=1e-7)


@pytest.mark.row(149)
def test_laplacian_of_a_plane_is_zero_inside(f64):
    vertices, faces = flat_grid(5)
    mesh = Mesh(vertices, faces)
    rim = len({i for edge in mesh.topology.boundary_edges for i in mesh.topology.edges[edge]})
    assert rim == 16
    rim_only = frozen_laplacian(mesh, "cotangent")(vertices) * len(vertices)
    assert float(laplacian(mesh, "cotangent")) * len(vertices) == pytest.approx(rim_only, rel=1e-9)
    inner = np.setdiff1d(np.arange(25), mesh.topology.edges[mesh.topology.boundary_edges].ravel())
    weights, _ = cotangents(vertices, faces)
    assert np.abs(weights @ vertices - weights.sum(1)[:, None] * vertices)[inner].max() < 1e-12


@pytest.mark.row(149)
@pytest.mark.parametrize("radius", [1.0, 2.0])
def test_cotangent_curvature_of_a_sphere(radius, f64):
    vertices, faces = icosphere(4, radius)
    assert float(laplacian(Mesh(vertices, faces), "cotangent_curvature")) == pytest.approx(1 / (3 * radius), rel=0.01)


@pytest.mark.row(149, 152)
@pytest.mark.parametrize("kind", ["uniform", "cotangent", "cotangent_curvature"])
def test_laplacian_equals_the_dense_twin_with_frozen_weights(kind, backend):
    mesh = bumpy()
    start = mesh.vertices.numpy().astype(np.float64)
    twin = frozen_laplacian(mesh, kind)
    (gradient,) = tape_gradients(lambda: laplacian(mesh, kind), [mesh.vertices])
    assert float(laplacian(mesh, kind)) == pytest.approx(twin(start), rel=1e-4)
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.normal(size=start.shape)
        slope = (twin(start + 1e-6 * direction) - twin(start - 1e-6 * direction)) / 2e-6
        assert (gradient * direction).sum() == pytest.approx(slope, rel=max(backend.rtol, 1e-5))


@pytest.mark.row(152)
def test_uniform_laplacian_gradient(backend):
    mesh = bumpy()
    directional_check(lambda: laplacian(mesh), [mesh.vertices], backend)


@pytest.mark.row(148)
@pytest.mark.parametrize("target", [0.0, 0.3])
def test_edge_length_gradient(target, backend):
    mesh = bumpy()
    directional_check(lambda: edge_length(mesh, target), [mesh.vertices], backend)


@pytest.mark.row(150)
def test_normal_consistency_gradient(backend):
    mesh = bumpy()
    directional_check(lambda: normal_consistency(mesh), [mesh.vertices], backend)


@pytest.mark.parametrize("energy", [laplacian, edge_length, normal_consistency])
def test_degenerate_and_unused_vertices_stay_finite(energy, f64):
    vertices = np.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    mesh = Mesh(vertices, [[0, 1, 2], [1, 2, 3]])
    (gradient,) = tape_gradients(lambda: energy(mesh), [mesh.vertices])
    assert np.isfinite(gradient).all()
    assert not gradient[4].any()


@pytest.mark.parametrize("kind", ["cotangent", "cotangent_curvature"])
def test_flat_triangles_weigh_nothing(kind, f64):
    mesh = Mesh([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]])
    (gradient,) = tape_gradients(lambda: laplacian(mesh, kind), [mesh.vertices])
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("energy", [laplacian, edge_length, normal_consistency])
def test_repeats_bit_for_bit_and_allocates_nothing(energy, f32):
    mesh = bumpy(3)
    first = tape_gradients(lambda: energy(mesh), [mesh.vertices])[0]
    tape_gradients(lambda: energy(mesh), [mesh.vertices])
    before = buffer.allocations
    again = tape_gradients(lambda: energy(mesh), [mesh.vertices])[0]
    assert buffer.allocations == before
    assert (first == again).all()


def test_refused_input(f32):
    with pytest.raises(SceneError, match="pass a mesh"):
        laplacian(np.zeros((3, 3)))
    with pytest.raises(SceneError, match="cotangent_curvature"):
        laplacian(bumpy(0), "bilaplacian")
    with pytest.raises(SceneError, match=r"0\.\.2"):
        Topology([[0, 1, 3]], 3)


def test_topology_of_closed_and_open_meshes():
    cube, plane = Topology(CUBE_FACES, 8), Topology(flat_grid()[1], 25)
    assert cube.closed
    assert cube.oriented
    assert cube.euler_characteristic == 2
    assert not plane.closed
    assert plane.euler_characteristic == 1
    assert len(plane.boundary_edges) == 16
    assert len(plane.face_pairs) == len(plane.edges) - 16


def test_topology_tables_agree_with_the_faces():
    _, faces = icosphere(1)
    faces = faces[3:]  # a hole
    table = Topology(faces, 42)
    rims = 0
    for f, face in enumerate(faces):
        for k in range(3):
            ends = {face[(k + 1) % 3], face[(k + 2) % 3]}
            assert set(table.edges[table.face_edges[f, k]]) == ends
            across = [g for g, other in enumerate(faces) if g != f and ends <= set(other)]
            rims += not across
            assert table.opposite_faces[f, k] == (across[0] if across else -1)
            expected = (set(faces[across[0]]) - ends).pop() if across else -1
            assert table.opposite_vertices[f, k] == expected
    assert rims == len(table.boundary_edges)
    offsets, items = table.neighbours
    _, links = table.vertex_edges
    for v in range(42):
        ring = items[offsets[v] : offsets[v + 1]]
        assert ring.tolist() == sorted({i for face in faces if v in face for i in face} - {v})
        assert all(set(table.edges[e]) == {v, n} for e, n in zip(links[offsets[v] : offsets[v + 1]], ring, strict=True))
    offsets, corners = table.vertex_faces
    assert all((faces.ravel()[corners[offsets[v] : offsets[v + 1]]] == v).all() for v in range(42))
    assert offsets[-1] == faces.size


def test_topology_reports_what_is_not_a_manifold():
    fan = Topology([[0, 1, 2], [0, 1, 3], [0, 1, 4]], 5)
    assert fan.edges[fan.crowded_edges].tolist() == [[0, 1]]
    assert len(fan.face_pairs) == 3
    assert (fan.opposite_vertices == -1).all()
    flipped = Topology([[0, 1, 2], [1, 2, 3]], 4)
    assert flipped.edges[flipped.misoriented_edges].tolist() == [[1, 2]]
    assert not flipped.oriented
    apart = Topology([[0, 1, 2], [4, 5, 3]], 7)
    assert apart.components.tolist() == [0, 0, 0, 1, 1, 1, 2]
