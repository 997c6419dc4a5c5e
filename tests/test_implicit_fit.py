"""Fits of implicit surfaces to silhouettes alone, from scene files: grids of distances and occupancies, and fields."""

import json
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr import runtime
from tidr.files.image import write_image
from tidr.fitting.fit import fit_from_settings
from tidr.renderers.field_density import field_densities
from tidr.renderers.level_set import LevelSetRenderer
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid, cell_centers

SIZE, VIEWS = 24, 12


def solid(points: np.ndarray) -> np.ndarray:
    """Distance-like, negative inside an ellipsoid beside the middle."""
    return np.linalg.norm((points - np.array([0.2, 0.0, -0.1])) / np.array([0.6, 0.4, 0.5]), axis=-1) - 1


def overlap(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found & wanted).sum() / (found | wanted).sum())


@pytest.fixture(scope="module")
def silhouettes(tmp_path_factory) -> Path:
    """Masks of the solid from all around, white on nothing, with their cameras."""
    if runtime.started() is None:
        tidr.init(arch="cpu")
    folder = tmp_path_factory.mktemp("silhouettes")
    scene = Scene()
    scene.add_node("shape", Node(VoxelGrid(sdf=0.4 * solid(cell_centers((48,) * 3)))))
    cameras = tidr.sphere_views(VIEWS, 3.4, fov_y_degrees=40, width=SIZE, height=SIZE)
    masks = tidr.render(scene, cameras, LevelSetRenderer()).alpha.numpy()
    frames = []
    for number, (camera, mask) in enumerate(zip(cameras, masks, strict=True)):
        write_image(folder / f"view_{number}.png", np.concatenate([np.ones((SIZE, SIZE, 3)), mask], -1))
        frames.append({"file_path": f"view_{number}.png", "transform_matrix": camera.camera_to_world.tolist()})
    focal = float(cameras[0].focal.numpy()[0])
    intrinsics = {"fl_x": focal, "fl_y": focal, "w": SIZE, "h": SIZE}
    (folder / "transforms.json").write_text(json.dumps(intrinsics | {"frames": frames}))
    return folder


def fitted(folder: Path, node: str, parameters: str, losses: str, count: int, **renderer) -> tuple[Scene, dict]:
    """A scene with one node, after its fit, and what was measured on the views kept out."""
    options = ", ".join(f"{key} = {value}" for key, value in renderer.items())
    (folder / "scene.toml").write_text(
        f"""
[lights.sky]
type = "ambient"
radiance = 1.0
[nodes.shape]
{node}
[fit]
views = "transforms.json"
losses = {{ {losses} }}
renderer = {{ type = "level_set", {options} }}
steps = {count}
views_per_step = 3
hold_out = 4
parameters = {{ {parameters} }}
"""
    )
    scene = tidr.load(folder / "scene.toml")
    return scene, fit_from_settings(scene).metrics["mean"]


@pytest.mark.long
@pytest.mark.row(79)
@pytest.mark.parametrize(
    ("radius", "losses"),
    [(0.3, "free_space = 1.0, field_laplacian = 0.1"), (0.8, "ray_mask = 1.0, field_laplacian = 1.0")],
)
def test_a_ball_of_distances_becomes_the_solid(f32, silhouettes, radius, losses):
    """From one that covers a part of it, and from one that it lies in."""
    node = f"voxels = {{ resolution = [20, 20, 20], sphere = {radius} }}"
    scene, measured = fitted(silhouettes, node, '"shape.sdf" = { lr = 2e-2 }', losses, 120, steps=64)
    grid = scene["shape"].geometry
    wanted = solid(grid.centers()) < 0
    assert overlap(np.linalg.norm(grid.centers(), axis=-1) < radius, wanted) < 0.35
    assert overlap(grid.sdf.numpy() < 0, wanted) > 0.8
    assert measured["iou"] > 0.8


@pytest.mark.long
@pytest.mark.row(78)
def test_even_occupancy_becomes_the_solid(f32, silhouettes):
    """A full box has no surface that a ray could meet: only ray_mask empties it."""
    node = "voxels = { resolution = [20, 20, 20], occupancy = 0.6 }"
    losses, parameters = "ray_mask = 1.0, free_space = 1.0", '"shape.occupancy" = { lr = 3e-2 }'
    scene, measured = fitted(silhouettes, node, parameters, losses, 120, steps=64)
    grid = scene["shape"].geometry
    assert overlap(grid.occupancy.numpy() > 0.5, solid(grid.centers()) < 0) > 0.65
    assert measured["iou"] > 0.85


HASH = "levels = 4, log2_entries = 12, base_resolution = 4, finest_resolution = 16, width = 16, geometry = 0"
FREQUENCY = "width = 32, depth = 3, octaves = 2, direction_octaves = 0, fine_samples = 1"


@pytest.mark.long
@pytest.mark.row(78)
@pytest.mark.parametrize(
    ("kind", "options", "parameters", "count"),
    [
        ("hash", HASH, '"shape.*" = { lr = 1e-2 }', 100),
        ("frequency", FREQUENCY, '"shape.fine" = { lr = 5e-3 }', 150),
    ],
)
def test_an_empty_field_becomes_the_solid(f32, silhouettes, kind, options, parameters, count):
    """The level set of a fresh network, which is nowhere; no picture is looked at but the masks."""
    node = f'field = {{ type = "{kind}", {options} }}'
    losses = "ray_mask = 1.0, free_space = 1.0"
    scene, measured = fitted(silhouettes, node, parameters, losses, count, steps=32, level=10.0)
    points = cell_centers((24,) * 3)
    dense = field_densities(scene["shape"].geometry, points.reshape(-1, 3)).reshape(24, 24, 24) > 10.0
    assert overlap(dense, solid(points) < 0) > 0.55
    assert measured["iou"] > 0.75
