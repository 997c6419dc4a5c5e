"""A height map from pictures of one moving camera: it is found, and noise in the pictures averages out.

Zienkiewicz, Davison and Leutenegger 2016, "Real-Time Height Map Fusion using Differentiable Rendering": heights and
colours of a grid's vertices, as all the frames see them.
"""

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.parameter import Constraint
from tidr.problems.depth import around, bumpy, painted
from tidr.problems.runner import problems, solve
from tidr.scenes.make_height_map import heights as island

SIZE, HALF = 64, 1.3  # pixels a side; half the grid's side
MIDDLE = 0.8  # what is measured lies that near to the middle, where every picture sees it
DRAWER = tidr.Rasterizer(edges="none", channels=("rgb",))


def grid(count: int) -> tidr.Mesh:
    """Bumps, painted, of which heights alone may move."""
    mesh = bumpy(HALF, count)
    mesh.vertices.constraint = Constraint(channels=(2,))
    return mesh


def heights(mesh: tidr.Mesh) -> np.ndarray:
    """[N] of the vertices near the middle."""
    points = mesh.vertices.numpy().astype(np.float64)
    return points[np.abs(points[:, :2]).max(1) < MIDDLE, 2]


def fused(mesh: tidr.Mesh, cameras, pictures: np.ndarray, steps: int = 100, lr: float = 5e-3) -> None:
    """Move heights and colours to what the pictures [B, H, W, 3] show."""
    scene, target = painted(mesh, width=SIZE, height=SIZE), tidr.Array.of(pictures, needs_grad=False)
    optimizer = tidr.Adam(scene.parameters("part_0.vertices", "part_0.colors"), lr=lr)
    for step in range(steps):
        optimizer.lr = lr * 0.05 ** (step / steps)
        with tidr.Tape() as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, cameras, DRAWER), target))
        optimizer.step()


def error(mesh: tidr.Mesh, right: np.ndarray) -> float:
    """RMSE of heights as a share of their range."""
    return float(np.sqrt(np.mean((heights(mesh) - right) ** 2)) / np.ptp(right))


@pytest.mark.long
@pytest.mark.row(197)
def test_heights_and_colours_from_eight_pictures(f32):
    """T18, begun as a grey plane; the pictures are those of a finer surface."""
    (problem,) = problems(["T18-mesh"])
    task = problem.build()
    assert task.error() > 30
    assert solve(problem, "none").solved


@pytest.mark.long
@pytest.mark.row(197)
def test_noise_falls_with_the_root_of_the_number_of_frames(f32):
    counts, errors = (3, 7, 15), []
    for count in counts:
        mesh, rng = grid(33), np.random.default_rng(0)
        cameras, right = around(count), heights(mesh)
        clean = tidr.render(painted(mesh), cameras, DRAWER).rgb.numpy()
        fused(mesh, cameras, clean + rng.normal(0, 0.02, clean.shape))
        errors.append(error(mesh, right))
    slope = np.polyfit(np.log(np.add(counts, 1)), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)


@pytest.mark.long
@pytest.mark.row(197)
def test_a_plane_becomes_the_island_of_eight_photos(f32, tmp_path):
    """The bundled scene, with depths as seen from above: to 2 % of their range, over the whole plane."""
    run = CliRunner().invoke(app, ["fit", "height_map", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    x, y, z = tidr.load(tmp_path / "run" / "scene.toml")["land"].vertices.numpy().astype(np.float64).T
    steps = np.linspace(-1.2, 1.2, 41)
    assert np.allclose(np.sort(x), np.repeat(steps, 41), atol=1e-6)
    assert np.allclose(np.sort(z), np.repeat(steps, 41), atol=1e-6)
    right = island(x, z)
    assert np.sqrt(np.mean((y - right) ** 2)) < 0.02 * np.ptp(right)
