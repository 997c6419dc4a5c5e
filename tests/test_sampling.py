"""Point clouds off meshes: on the surface, with its normals and colours, even where asked, the same for a seed."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.scene.graph import Node
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.neighbors import nearest
from tidr.scene.sampling import sample_points
from tidr.scene.texture import Texture

SQUARE = ([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]], [[0, 1, 2], [0, 2, 3]])
UVS = [[0.0, 0], [1, 0], [1, 1], [0, 1]]


@pytest.mark.row(133)
def test_normals_are_those_that_the_shading_shows(f64):
    vertices, faces = icosphere(2)
    smooth = sample_points(Mesh(vertices, faces), 500)
    radial = smooth.positions.numpy() / np.linalg.norm(smooth.positions.numpy(), axis=1)[:, None]
    assert smooth.normals is not None
    assert (smooth.normals.numpy() * radial).sum(1).min() > 0.9995
    flat = sample_points(Node(Mesh(vertices, faces, shading="flat")), 500)
    assert flat.normals is not None
    corners = vertices[faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    of_faces /= np.linalg.norm(of_faces, axis=1)[:, None]
    assert np.allclose((flat.normals.numpy() @ of_faces.T).max(1), 1)
    assert (flat.normals.numpy() * radial).sum(1).min() < 0.995
    given = sample_points(Mesh(*SQUARE, normals=[[0, 0.6, 0.8]] * 4), 50)
    assert given.normals is not None
    assert np.allclose(given.normals.numpy(), [0, 0.6, 0.8])


@pytest.mark.row(133)
def test_colors_of_vertices_are_blended(f64):
    colors = [[0, 0, 0.5], [1, 0, 0.5], [1, 1, 0.5], [0, 1, 0.5]]  # red is x, green is y
    for materials in ((), [Material(albedo="vertex_colors")]):
        cloud = sample_points(Mesh(*SQUARE, colors=colors), 300, seed=2, materials=materials)
        assert cloud.colors is not None
        assert np.allclose(cloud.colors.numpy()[:, :2], cloud.positions.numpy()[:, :2])
        assert np.allclose(cloud.colors.numpy()[:, 2], 0.5)
    assert sample_points(Mesh(*SQUARE), 5).colors is None


@pytest.mark.row(133)
@pytest.mark.parametrize("wrap", ["repeat", "clamp", "mirror"])
def test_textures_are_looked_up(f64, wrap):
    """Texels that rise evenly give their bilinear value exactly; past the last centres the wrap decides."""
    x, y = (np.arange(8) + 0.5) / 8, 1 - (np.arange(4) + 0.5) / 4
    texels = np.stack([*np.broadcast_arrays(x[None, :], y[:, None]), np.full((4, 8), 0.25)], -1)
    cloud = sample_points(Mesh(*SQUARE, uvs=UVS), 400, materials=[Material(albedo=Texture(texels, wrap=wrap))])
    assert cloud.colors is not None
    at, colors = cloud.positions.numpy()[:, :2], cloud.colors.numpy()
    inner = ((at > [1 / 16, 1 / 8]) & (at < [15 / 16, 7 / 8])).all(1)
    assert np.allclose(colors[inner, :2], at[inner])
    left = at[:, 0] < 1 / 16
    part = at[left, 0] * 8 + 0.5
    beyond = 15 / 16 if wrap == "repeat" else 1 / 16
    assert left.any()
    assert np.allclose(colors[left, 0], part / 16 + (1 - part) * beyond)


@pytest.mark.row(133)
def test_each_face_has_the_color_of_its_material(f64):
    mesh = Mesh(*SQUARE, face_materials=[0, 1])
    cloud = sample_points(mesh, 200, materials=[Material(albedo=(1, 0, 0)), Material(albedo=(0, 0, 1))])
    assert cloud.colors is not None
    lower = cloud.positions.numpy()[:, 0] > cloud.positions.numpy()[:, 1]
    assert np.allclose(cloud.colors.numpy(), np.where(lower[:, None], [1, 0, 0], [0, 0, 1]))


@pytest.mark.row(133)
def test_an_even_sample_leaves_no_two_points_close(f64):
    mesh = Mesh(*icosphere(3))
    gaps = {}
    for even in (False, True):
        cloud = sample_points(mesh, 400, seed=1, even=even)
        assert cloud.count == 400
        gaps[even] = np.sqrt(nearest(cloud.positions, k=1)[1]).min()
    spacing = np.sqrt(2 / np.sqrt(3) * 4 * np.pi / 400)  # of a hexagonal lattice of as many points
    assert gaps[True] > 0.6 * spacing > 5 * gaps[False]


def test_faults_are_named(f64):
    mesh = Mesh(*SQUARE)
    textured = Material(albedo=Texture(np.ones((2, 2, 3))))
    for where, call in {
        "got list": lambda: sample_points([1, 2], 3),
        "count": lambda: sample_points(mesh, 0),
        "no uvs": lambda: sample_points(mesh, 3, materials=[textured]),
        "vertex_colors": lambda: sample_points(mesh, 3, materials=[Material(albedo="vertex_colors")]),
        "2 slots": lambda: sample_points(Mesh(*SQUARE, face_materials=[0, 1]), 3, materials=[Material()]),
    }.items():
        with pytest.raises(SceneError, match=where):
            call()
