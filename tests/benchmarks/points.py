"""Times splatting of Gaussians and points, forward and backward, beside a rival's script, in one run on one machine.

    python tests/benchmarks/points.py [--rivals FOLDER --python PYTHON] [--only NAME] [--json OUT]

FOLDER holds w3_gaussians.py; PYTHON is the interpreter that has Mitsuba installed. Without them only tidr is timed.
Each case runs in its own process: turns to warm up, then the median of the timed ones. The figures for OpenSplat and
PyTorch3D are their ratios to Mitsuba's ray-traced Gaussians as measured once on one machine, times Mitsuba's time in
this run. PyTorch3D drew as many points on another mesh of the same size.
"""

import argparse
import functools
import statistics
import time
from pathlib import Path

import numpy as np
from cases import run_cases
from mesh import bumpy_icosphere
from volume import EYE, FOV_Y_DEGREES, rival

import tidr
from tidr.array import Array
from tidr.renderers.points import PointRenderer
from tidr.runtime import taichi

COUNT, PIXELS = 100_000, 512
WARM_UP, REPETITIONS = 3, 11
MITSUBA = "W3/gaussians/mitsuba-volprim-1spp-md256"
RIVALS = {
    "gaussians": {"Mitsuba": 1.0, "OpenSplat (scaled)": 606 / 2666},
    "points": {"PyTorch3D alpha, 8 points a pixel (scaled)": 32169 / 2666},
    "spheres": {"PyTorch3D Pulsar (scaled)": 4202 / 2666},
}  # time in parts of Mitsuba's


def cloud(degree: int) -> tidr.Gaussians:
    """The rival's Gaussians: a ball of small ones, all colours and opacities."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(COUNT, 3)) * 0.35
    scales = 0.01 * np.exp(rng.normal(size=(COUNT, 3)) * 0.3)
    rotations, logits = rng.normal(size=(COUNT, 4)), rng.normal(size=COUNT)
    colors = rng.uniform(size=(COUNT, 3))
    made = tidr.Gaussians.from_colors(means, colors, scales, rotations, 1 / (1 + np.exp(-logits)), degree)
    if made.sh_rest is not None:
        made.sh_rest.set(0.05 * rng.normal(size=made.sh_rest.shape))
    return made


def points(radius: float | None) -> tidr.PointCloud:
    """Points on a mesh in the unit sphere, spread at random."""
    rng = np.random.default_rng(0)
    vertices, faces = bumpy_icosphere(5)
    corners = vertices[faces[rng.integers(len(faces), size=COUNT)]]
    positions = (corners * rng.dirichlet((1, 1, 1), size=COUNT)[..., None]).sum(1)
    return tidr.PointCloud(positions, 0.5 + 0.4 * np.sin(3 * positions + np.array([0, 1, 2])), radii=radius)


def times(geometry: tidr.Gaussians | tidr.PointCloud, **options) -> dict[str, float]:
    """Gradient of a mean squared difference to every parameter of the cloud."""
    scene = tidr.Scene(tidr.Film(PIXELS, PIXELS))
    scene.add_node("cloud", tidr.Node(geometry))
    place = {"fov_y_degrees": FOV_Y_DEGREES, "width": PIXELS, "height": PIXELS}
    scene.add_camera("front", tidr.Camera.look_at(EYE, (0, 0, 0), **place))
    wanted = scene.parameters(*(f"cloud.{name}" for name in geometry.parameters()))
    grey = Array.of(np.full((PIXELS, PIXELS, 3), 0.5), needs_grad=False)
    renderer, sync = PointRenderer(**options), taichi().sync
    forward, backward = [], []
    for _ in range(WARM_UP + REPETITIONS):
        start = time.perf_counter()
        with tidr.Tape(wanted) as tape:
            loss = tidr.losses.mse(tidr.render(scene, "front", renderer).rgb, grey)
            sync()
            middle = time.perf_counter()
            tape.add(loss)
        sync()
        forward.append((middle - start) * 1e3)
        backward.append((time.perf_counter() - middle) * 1e3)
    both = [one + other for one, other in zip(forward, backward, strict=True)]
    medians = [statistics.median(turns[WARM_UP:]) for turns in (forward, backward, both)]
    return dict(zip(("forward_ms", "backward_ms", "forward_backward_ms"), medians, strict=True))


NEAREST = {"splat": "knn", "radius_pixels": 2.56, "points_per_pixel": 8, "falloff": "pytorch3d"}
CASES = {
    "gaussians": lambda options: times(cloud(0)),
    "gaussians of degree 3": lambda options: times(cloud(3), antialiased=True),
    "points": lambda options: times(points(None), **NEAREST),
    "spheres": lambda options: times(points(0.008), splat="sphere"),
}


@functools.cache
def mitsuba_ms(python: str, script: Path) -> float | None:
    """Mitsuba's time, measured once for all cases; None where it failed."""
    return rival(python, script, MITSUBA)


def compare(name: str, ours: dict[str, float], options: argparse.Namespace) -> list[dict]:
    """The rivals of one case; printed and returned."""
    rows, mitsuba = [], mitsuba_ms(options.python, options.rivals / "w3_gaussians.py")
    for label, share in RIVALS.get(name, {}).items() if mitsuba else ():
        ratio = mitsuba * share / ours["forward_backward_ms"]
        rows.append({"case": name, "rival": label, "fwdbwd_ms": mitsuba * share, "ratio": ratio})
        print(f"  {label}: {mitsuba * share:.1f}, ratio {ratio:.2f}", flush=True)
    return rows


if __name__ == "__main__":
    run_cases(__file__, __doc__, CASES, compare)
