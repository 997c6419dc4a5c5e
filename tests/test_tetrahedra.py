"""DMTet: the surface of a deformable tetrahedral grid, drawn by the rasterizer."""

import numpy as np
import pytest

from tidr import extract
from tidr.errors import SceneError
from tidr.fitting.losses import mse
from tidr.fitting.tape import Tape
from tidr.kernels.implicit import marching_tetrahedra
from tidr.renderers.raster import Rasterizer
from tidr.renderers.renderer import render
from tidr.scene.camera import Camera
from tidr.scene.extraction import Extraction
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import DirectionalLight
from tidr.scene.mesh import Mesh
from tidr.scene.tetrahedra import Tetrahedra

from .conftest import on_backends
from .gradients import directional_check, tape_gradients, weighted
from .test_extract import edge_use, volume


def nodes(n: int) -> np.ndarray:
    axis = np.linspace(-1, 1, n + 1)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([x, y, z], -1)


def wobbly(seed: int, n: int = 5) -> Tetrahedra:
    """A rough ball whose nodes all keep away from changing sides."""
    rng = np.random.default_rng(seed)
    sdf = np.linalg.norm(nodes(n), axis=-1) - 0.65 + 0.1 * rng.normal(size=(n + 1,) * 3)
    return Tetrahedra(sdf + 0.05 * np.sign(sdf), rng.normal(size=(*sdf.shape, 3)))


@pytest.mark.row(133)
def test_one_tetrahedron_gives_three_midpoints(f64):
    """s = (1, -1, -1, -1): one triangle, at the middles of the three edges of the odd corner."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    for sign in (1, -1):
        s = sign * np.array([1.0, -1, -1, -1])
        ends, faces = marching_tetrahedra.find(s < 0, np.array([[0, 1, 2, 3]]))
        found = Extraction(ends, ends, faces)
        from tidr.array import Array

        vertices = extract.crossing_vertices(found, Array.of(s[:, None]), Array.of(corners), 0.0).numpy()
        assert sorted(vertices.tolist()) == [[0, 0, 0.5], [0, 0.5, 0], [0.5, 0, 0]]
        a, b, c = vertices[faces[0]]
        assert np.sign(np.cross(b - a, c - a).sum()) == -sign


@pytest.mark.row(133)
def test_ball_is_closed_and_its_volume_converges(f64):
    exact, errors = 4 / 3 * np.pi * 0.7**3, []
    for n in (10, 20, 40):
        found = extract.marching_tetrahedra(Tetrahedra(np.linalg.norm(nodes(n), axis=-1) - 0.7))
        assert edge_use(found.faces) == ({2}, 1, 2)
        errors.append(abs(volume(found.vertices.numpy(), found.faces) / exact - 1))
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


@pytest.mark.row(85)
@pytest.mark.parametrize(("backend", "seed"), on_backends([(0,), (1,), (2,)], [(0,)]), indirect=["backend"])
def test_gradients_of_the_vertices(backend, seed):
    grid = wobbly(seed)
    count = len(grid.extraction().ends)
    weights = np.random.default_rng(seed).normal(size=(count, 3))
    directional_check(
        lambda: weighted(extract.marching_tetrahedra(grid).vertices, weights), [grid.sdf, grid.offsets], backend, seed
    )


def test_equal_values_at_both_ends_have_a_finite_gradient(f64):
    sdf = np.full((3, 3, 3), 1e-12)
    sdf[1, 1, 1] = -1e-12
    grid = Tetrahedra(sdf)
    for gradient in tape_gradients(
        lambda: weighted(extract.marching_tetrahedra(grid).vertices, 1.0), [grid.sdf, grid.offsets]
    ):
        assert np.isfinite(gradient).all()


def scene_of(seed: int) -> tuple[Scene, Camera]:
    scene = Scene(Film(16, 16, (0.1, 0.1, 0.2)))
    scene.add_node("shape", Node(wobbly(seed), rotation=(0.9, 0.1, 0.3, 0.2), translation=(0.1, 0, 0)))
    scene.add_light("sun", DirectionalLight((-0.4, -0.5, -1), 2.0))
    return scene, Camera.look_at((0, 0, 3.4), (0, 0, 0), fov_y_degrees=40, width=16, height=16)


@pytest.mark.row(85)
def test_the_rasterizer_draws_what_it_draws_of_the_mesh(f32):
    """Beside a mesh of its own, with smooth normals; and again after the surface has changed."""
    scene, camera = scene_of(1)
    scene.add_node("other", Node(Mesh([[-1, -1, -1], [1, -1, -1], [0, 1, -1]], [[0, 1, 2]])))
    for shift in (0.0, 0.2):
        grid = scene["shape"].geometry
        grid.sdf.set(grid.sdf.numpy() - shift)
        plain, _ = scene_of(1)
        plain.nodes["shape"].geometry = extract.mesh_of(grid)
        plain.add_node("other", Node(scene["other"].geometry))
        for edges in ("antialias", "soft"):
            one, two = (render(each, camera, Rasterizer(edges=edges)) for each in (scene, plain))
            for channel in ("rgb", "alpha", "normal", "depth"):
                assert np.allclose(one.channel(channel).numpy(), two.channel(channel).numpy(), atol=1e-5)
    assert one.alpha.numpy().max() > 0.9


@pytest.mark.row(85)
def test_gradients_of_a_picture(f64):
    """Depth inside the silhouette: the jumps of the triangles' borders have no part in it."""
    scene, camera = scene_of(0)
    renderer = Rasterizer(edges="none")
    grid = scene["shape"].geometry
    alpha = render(scene, camera, renderer).alpha.numpy()[..., 0]
    inner = alpha.astype(bool)
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(inner, shift, axis)
    for channel in ("depth", "rgb"):
        weights = np.random.default_rng(0).normal(size=render(scene, camera, renderer).channel(channel).shape)
        directional_check(
            lambda channel=channel, weights=weights: weighted(
                render(scene, camera, renderer).channel(channel), weights * inner[..., None]
            ),
            [grid.sdf, grid.offsets, scene["shape"].translation],
            f64,
            1,
        )


def picture_gradients() -> list[np.ndarray]:
    scene, camera = scene_of(2)
    grid, renderer = scene["shape"].geometry, Rasterizer(edges="soft", sigma=1e-3)
    return tape_gradients(lambda: mse(render(scene, camera, renderer), np.zeros((16, 16, 3))), [grid.sdf, grid.offsets])


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return picture_gradients()


def test_picture_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    for one, other in zip(exact, picture_gradients(), strict=True):
        assert np.linalg.norm(one - other) <= 2e-2 * np.linalg.norm(one)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_no_surface_is_an_empty_image(f64, value):
    scene = Scene(Film(8, 8, (0.1, 0.2, 0.3)))
    scene.add_node("shape", Node(Tetrahedra(np.full((3, 3, 3), value))))
    scene.add_light("sun", DirectionalLight((0, 0, -1), 1.0))
    camera = Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40, width=8, height=8)
    for edges in ("none", "antialias", "soft"):
        with Tape() as tape:
            image = render(scene, camera, Rasterizer(edges=edges))
            tape.add(mse(image.rgb, np.zeros((8, 8, 3))))
            tape.add(mse(image.alpha, np.ones((8, 8, 1))))
        assert np.allclose(image.rgb.numpy(), (0.1, 0.2, 0.3), atol=1e-6)
        assert not image.alpha.numpy().any()
        assert not scene["shape"].geometry.sdf.grad_numpy().any()


def test_triangles_stay_until_a_node_changes_sides(f32):
    grid = wobbly(3)
    first = grid.extraction()
    grid.sdf.set(grid.sdf.numpy() * 1.1)
    assert grid.extraction() is first
    grid.sdf.set(grid.sdf.numpy() + 0.3)
    assert grid.extraction() is not first


def test_faults_are_named(f32):
    with pytest.raises(SceneError, match="sdf"):
        Tetrahedra(np.zeros((3, 3)))
    with pytest.raises(SceneError, match="offsets"):
        Tetrahedra(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)))
    with pytest.raises(SceneError, match="not finite"):
        Tetrahedra(np.full((3, 3, 3), np.nan))
    with pytest.raises(SceneError, match="inside"):
        Tetrahedra(np.zeros((3, 3, 3)), lower=(1, 1, 1), upper=(-1, 1, 1))
    with pytest.raises(SceneError, match="shading"):
        Tetrahedra(np.zeros((3, 3, 3)), shading="file")
