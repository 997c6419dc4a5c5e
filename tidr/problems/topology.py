"""Topology: T5 a sphere that has to become a torus: by tetrahedra, by a grid of distances, by a mesh, which cannot."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tidr.extract import mesh_of
from tidr.fitting.implicit_losses import field_laplacian, sign_changes
from tidr.fitting.large_steps import LargeSteps
from tidr.fitting.losses import mse, silhouette
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.parameter import Constraint
from tidr.renderers.neus import NeusRenderer
from tidr.renderers.raster import EDGES
from tidr.scene.camera import sphere_views
from tidr.scene.conversions import winding
from tidr.scene.graph import Scene
from tidr.scene.mesh import Mesh
from tidr.scene.neus import NeusGrid
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.topology import Topology
from tidr.scene.voxels import cell_centers

from .figures import lone, pictures, sphere
from .runner import SIZE, Problem, Softness, Task

MAJOR, MINOR = 0.6, 0.25
START = 0.7
FINE = 48  # cells along each side of the grid on which volumes are compared
GENUS_ONE = "a mesh keeps its triangles: a sphere folds, but never gets a hole"


def torus(around: int = 64, across: int = 32) -> Mesh:
    """The torus about z of radii MAJOR and MINOR."""
    u, v = np.meshgrid(*(np.arange(n) * 2 * np.pi / n for n in (around, across)), indexing="ij")
    reach = MAJOR + MINOR * np.cos(v)
    points = np.stack([reach * np.cos(u), reach * np.sin(u), MINOR * np.sin(v)], -1)
    a = np.arange(around * across).reshape(around, across)
    b, d = np.roll(a, -1, 0), np.roll(a, -1, 1)
    c = np.roll(b, -1, 1)
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))])
    return Mesh(points.reshape(-1, 3), faces)


def error_of(mesh: Mesh) -> float:
    """1 - IoU with the torus, and 1 more unless the largest piece of the surface has genus 1."""
    vertices = mesh.vertices.numpy().astype(np.float64)
    if not np.isfinite(vertices).all():
        return float("nan")
    pieces = mesh.topology.components[mesh.faces[:, 0]]
    largest = mesh.faces[pieces == np.bincount(pieces).argmax()]
    wrong = float(Topology(largest, len(vertices)).euler_characteristic != 0)
    shape, low, high = (FINE, FINE, FINE), (-1, -1, -1), (1, 1, 1)
    centers = cell_centers(shape, low, high)
    solid = np.hypot(np.hypot(centers[..., 0], centers[..., 1]) - MAJOR, centers[..., 2]) < MINOR
    found = winding(vertices, mesh.faces, shape, low, high) > 0
    return wrong + 1.0 - float((found & solid).sum() / (found | solid).sum())


def _task(scene: Scene, optimizer: Optimizers, loss: Callable) -> Task:
    cameras = sphere_views(12, 3.2, fov_y_degrees=40, width=SIZE, height=SIZE)

    def error() -> float:
        return error_of(mesh_of(scene["shape"]))

    return Task(
        scene=scene,
        cameras=cameras,
        targets=pictures(lone(torus()), cameras, "alpha"),
        optimizer=optimizer,
        error=error,
        softness=Softness(sigma=(1e-4, 1e-5), iterations=60),
        loss=loss,
        views_per_step=4,
    )


def _ball(points: np.ndarray, band: float) -> np.ndarray:
    """Distances to the sphere that a fit starts from, clamped to a band: what is deep is not far from the surface."""
    return np.clip(np.linalg.norm(points, axis=-1) - START, -band, band)


def tetrahedra_task(cubes: int = 24, band: float = 0.08) -> Task:
    """DMTet: distances and offsets at the nodes of a tetrahedral grid, by silhouettes."""
    half = 1 + 1 / cubes
    nodes = cell_centers((cubes + 1,) * 3, (-half,) * 3, (half,) * 3)
    scene = lone(Tetrahedra(_ball(nodes, band)))
    shape = scene["shape"]
    shape.geometry.sdf.constraint = Constraint(clamp=(-band, band))

    def loss(image, found):
        return [
            (mse(image.alpha, found["alpha"]), 10.0),
            (silhouette(image.alpha, found["alpha"]), 1.0),
            (field_laplacian(shape), 2.0),
            (sign_changes(shape), 0.05),
        ]

    parameters = scene.parameters("shape.sdf", "shape.offsets")
    return _task(scene, Optimizers([Adam(parameters, lr=1e-2)]), loss)


def grid_task(cells: int = 20, band: float = 0.15) -> Task:
    """NeuS on a grid of signed distances, by silhouettes."""
    scene = lone(NeusGrid(_ball(cell_centers((cells,) * 3), band), inverse_std=40.0))
    shape = scene["shape"]
    shape.geometry.sdf.constraint = Constraint(clamp=(-band, band))

    def loss(image, found):
        return [(mse(image.alpha, found["alpha"]), 10.0), (field_laplacian(shape), 2.0)]

    return _task(scene, Optimizers([Adam(scene.parameters("shape.sdf"), lr=1e-2)]), loss)


def mesh_task() -> Task:
    """The same pictures, and a sphere of fixed triangles."""
    scene = lone(sphere(START))

    def loss(image, found):
        return [(mse(image.alpha, found["alpha"]), 1.0), (silhouette(image.alpha, found["alpha"]), 1.0)]

    return _task(scene, Optimizers([LargeSteps(scene["shape"], lr=4e-2, lam=4.0)]), loss)


NEAR = "the ring forms, but with triangles of the size of a pixel its volume stays 0.11 to 0.16 off"
TORN = "triangles of the size of a pixel move each by itself, and the surface breaks up"
KNOWN: dict[str, str] = dict.fromkeys(("none", "genova"), "a silhouette's motion has no gradient inside triangles")
KNOWN |= dict.fromkeys(("soft", "nmr", "splat"), TORN) | dict.fromkeys(("opendr", "dibr"), NEAR)
_problem = partial(Problem, measure="1 - IoU, 1 more if not genus 1", threshold=0.1)
PROBLEMS = (
    _problem(
        name="T5-tetrahedra", title="sphere to torus by deformable tetrahedra", build=tetrahedra_task, known=KNOWN
    ),
    _problem(
        name="T5-grid", title="sphere to torus by a grid of distances", build=grid_task,
        renderers={"neus": NeusRenderer(steps=48)},
    ),
    _problem(
        name="T5-mesh", title="sphere to torus by a mesh", build=mesh_task, max_iterations=150,
        known=dict.fromkeys(EDGES, GENUS_ONE),
    ),
)  # fmt: skip
