"""Compares the photon mapper's caustic with a rival's after equal times, in one run on one machine.

    python tests/benchmarks/caustic.py --rivals FOLDER --python PYTHON [--variant llvm_ad_rgb] [--json OUT]

FOLDER holds w5_gi_mitsuba.py; PYTHON is the interpreter that has the rival installed. The scene is that script's: a
glass sphere (here of 81,920 triangles) over a floor, below a small lamp, 256 x 256. The rival draws its reference by
tracing particles for a long time, and then what its particle tracer and its path tracer reach after half a second, two
and eight; ours is warmed up, as the rival is, and takes as many passes as fit into the same times. Errors are relative
squared errors over the pixels that see the floor straight. "inside" is the same over those that also have all
neighbours there: the particle tracer's reference has no floor behind the glass in the pixels of the sphere's outline.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

import tidr
from tidr.renderers.photons import PhotonMapper
from tidr.runtime import taichi
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere

PIXELS, TRIAL, FOV_Y_DEGREES = 256, 8, 40.0
PHOTONS, RADIUS = 1 << 16, 0.03


def rectangle(center: tuple, first: tuple, second: tuple) -> Mesh:
    """The parallelogram of half edges `first` and `second`; its front looks along their cross product."""
    c, a, b = np.array(center, float), np.array(first, float), np.array(second, float)
    return Mesh(np.stack([c - a - b, c + a - b, c + a + b, c - a + b]), [[0, 1, 2], [0, 2, 3]], shading="flat")


def glass_sphere() -> Scene:
    scene = Scene()
    scene.add_material("white", Material("lambert", albedo=0.7))
    scene.add_material("shine", Material("lambert", albedo=0.5, emission=60.0))
    scene.add_material("glass", Material("dielectric", ior=1.5))
    scene.add_node("floor", Node(rectangle((0, 0, 0), (0, 0, 2), (2, 0, 0)), materials=("white",)))
    scene.add_node("lamp", Node(rectangle((0.8, 3, 0.4), (0.2, 0, 0), (0, 0, 0.2)), materials=("shine",)))
    ball = Mesh(*icosphere(6))
    scene.add_node("ball", Node(ball, materials=("glass",), translation=(0, 0.8, 0), scale=0.5))
    return scene


def draw(scene: Scene, camera: Camera, passes: int, seed: int) -> tuple[np.ndarray, float]:
    """Picture and seconds."""
    start = time.perf_counter()
    mapper = PhotonMapper(photons=PHOTONS, radius=RADIUS, passes=passes, seed=seed)
    rgb = tidr.render(scene, camera=camera, renderer=mapper, width=PIXELS, height=PIXELS).rgb.numpy()
    taichi().sync()
    return rgb, time.perf_counter() - start


def error(picture: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """Relative squared error over the masked pixels, that of the reference's own noise included."""
    mean = reference[mask].mean()
    return float((((picture - reference)[mask]) ** 2 / (reference[mask] ** 2 + 1e-2 * mean**2)).mean())


def shrunk(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for rows in (-1, 0, 1):
        for columns in (-1, 0, 1):
            inner &= np.roll(mask, (rows, columns), (0, 1))
    return inner


def rival(options: argparse.Namespace, folder: str) -> list[dict]:
    script = str(options.rivals / "w5_gi_mitsuba.py")
    command = [options.python, script, "--only", f"caustic/{options.variant}", "--npz", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        sys.exit(f"the rival did not run\n{done.stderr[-1000:]}")
    return [{key: row[key] for key in ("workload", "peer", "relmse") if key in row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--variant", default="llvm_ad_rgb")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path, help="write the picture of the longest time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = rival(options, folder)
        kept = np.load(Path(folder) / f"w5_caustic_{options.variant}_ref.npz")
        reference, mask = kept["image"].astype(np.float64), kept["mask"] > 0
    tidr.init(arch="cpu")
    scene, camera = glass_sphere(), Camera.look_at([0, 3, 4], [0, 0.3, 0], fov_y_degrees=FOV_Y_DEGREES)
    draw(scene, camera, 2, 1)
    each = min(draw(scene, camera, TRIAL, seed)[1] for seed in (2, 3)) / TRIAL
    for budget in (0.5, 2.0, 8.0):
        picture, seconds = draw(scene, camera, max(int(budget / each), 1), 4)
        found = {"relmse": error(picture, reference, mask), "inside": error(picture, reference, shrunk(mask))}
        rows.append({"workload": f"equal time {budget} s", "peer": "tidr photons", "seconds": seconds, **found})
        if options.png:
            Pillow.fromarray((255 * np.clip(picture, 0, 1) ** (1 / 2.2)).astype(np.uint8)).save(options.png)
    for row in rows:
        print({key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
