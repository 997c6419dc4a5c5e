"""Times volume rendering, forward and backward, beside a rival's script, in one run on one machine.

    python tests/benchmarks/volume.py [--rivals FOLDER --python PYTHON] [--only NAME] [--json OUT]

FOLDER holds w4_volume.py and w6_hashgrid.py; PYTHON is the interpreter that has the rivals installed. Without them
only tidr is timed. Each case runs in its own process: turns to warm up, then the median of the timed ones. Media are
timed by volume_medium.py.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
from cases import run_cases

import tidr
from tidr.array import Array
from tidr.renderers.volume import VolumeRenderer
from tidr.runtime import taichi
from tidr.scene.volume import Volume

EYE, FOV_Y_DEGREES = np.array([1.2, 0.9, 2.6]), 40.0
CELLS, PIXELS, STEPS = 128, 256, 256
WARM_UP, REPETITIONS = 2, 9


def blobs(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The rival's grids: density [n, n, n] of four soft blobs, colour [n, n, n, 3] of waves."""
    line = (np.arange(cells) + 0.5) / cells * 2 - 1
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    density = np.zeros((cells,) * 3)
    for cx, cy, cz, r in ((0, 0, 0, 0.45), (0.4, 0.3, -0.2, 0.25), (-0.45, -0.2, 0.3, 0.3), (0.1, -0.5, -0.3, 0.2)):
        density += 8 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * (r * 0.5) ** 2))
    color = np.stack([0.5 + 0.5 * np.sin(4 * x), 0.5 + 0.5 * np.sin(5 * y + 1), 0.5 + 0.5 * np.sin(6 * z + 2)], -1)
    return density, color


def grid_times(options: argparse.Namespace) -> dict[str, float]:
    """The rival's W4: gradient of a mean squared difference to density and colour."""
    scene = tidr.Scene(tidr.Film(PIXELS, PIXELS, None))
    volume = Volume(*blobs(CELLS))
    scene.add_node("cloud", tidr.Node(volume))
    options = {"fov_y_degrees": FOV_Y_DEGREES, "width": PIXELS, "height": PIXELS}
    scene.add_camera("front", tidr.Camera.look_at(EYE, (0, 0, 0), **options))
    wanted = scene.parameters("cloud.density", "cloud.color")
    grey = Array.of(np.full((PIXELS, PIXELS, 3), 0.5), needs_grad=False)
    renderer, sync = VolumeRenderer(steps=STEPS), taichi().sync
    forward, backward = [], []
    for _ in range(WARM_UP + REPETITIONS):
        for parameter in wanted.values():
            parameter.touch()
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
    medians = [statistics.median(times[WARM_UP:]) for times in (forward, backward, both)]
    samples = PIXELS * PIXELS * STEPS / medians[0] / 1e3
    names = ("forward_ms", "backward_ms", "forward_backward_ms", "million_samples_per_second_forward")
    return dict(zip(names, [*medians, samples], strict=True))


def hash_times(options: argparse.Namespace) -> dict[str, float]:
    """The rival's W6: hash grid and small network at random points."""
    from volume_field import hash_milliseconds

    return {"forward_backward_ms": hash_milliseconds()}


CASES = {"grid": grid_times, "hash": hash_times}
RIVALS = {
    "grid": (("w4_volume.py", "W4/grid/drjit-texture-march"), ("w4_volume.py", "W4/grid/torch-grid_sample-chunk8192")),
    "hash": (("w6_hashgrid.py", "drjit-nn-f32"),),
}


def rival(python: str, script: Path, case: str) -> float | None:
    """Milliseconds of a rival's forward and backward pass; None where it failed."""
    done = subprocess.run([python, str(script), "--only", case], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if not record.get("failed") and "fwdbwd_ms" in record:
            return record["fwdbwd_ms"]
    return None


def compare(name: str, ours: dict[str, float], options: argparse.Namespace) -> list[dict]:
    """The rivals of one case, timed now; printed and returned."""
    rows = []
    for script, case in RIVALS[name]:
        theirs = rival(options.python, options.rivals / script, case)
        if theirs is None:
            print(f"  {case}: did not run")
            continue
        ratio = theirs / ours["forward_backward_ms"]
        rows.append({"case": name, "rival": case, "forward_backward_ms": theirs, "ratio": ratio})
        print(f"  {case}: {theirs:.1f}, ratio {ratio:.2f}", flush=True)
    return rows


if __name__ == "__main__":
    run_cases(__file__, __doc__, CASES, compare)
