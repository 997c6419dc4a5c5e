"""Seconds from the start of a process to a wall's colour within .01, beside Mitsuba 3, in one run on one machine.

    python tests/benchmarks/colour.py [--rivals FOLDER --python PYTHON] [--turns N] [--json OUT]

FOLDER holds w5_gi_mitsuba.py, PYTHON is the interpreter that has Mitsuba installed. The Cornell box at 128 x 128, depth
8, its red wall from (.01, .2, .9). "stored": the picture to fit (512 samples) is read from a file, as a photograph
would be; "made": the process renders it first. "cold": what was compiled before is gone; "warm": it is there, from the
run before. "same": the rival's own recipe, Adam with its usual settings and 4 samples a pixel; "tidr": a recipe of
ours, with 2 samples, a shorter memory and a rate that falls.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE, DEPTH, SAMPLES, SEED = 128, 8, 512, 9999
RED, START = (0.61, 0.06, 0.06), (0.01, 0.2, 0.9)
RIVAL = Path(__file__).with_name("colour_mitsuba.py")


@dataclass(frozen=True)
class Recipe:
    """Samples of a pixel in each step, Adam's rate at the first and the last of so many steps, and its betas."""

    samples: int
    lr: float
    last_lr: float
    steps: int
    betas: tuple[float, float] = (0.9, 0.999)


RECIPES = {"same": Recipe(4, 0.05, 0.05, 120), "tidr": Recipe(2, 0.2, 0.004, 40, (0.7, 0.9))}


def fit(recipe: Recipe, file: Path, begun: float) -> dict[str, float]:
    """Seconds to the largest error of the wall's colour; the picture comes from `file`, or goes there if it is new."""
    import tidr
    from tidr.renderers.path import PathTracer

    tidr.init(arch="cpu")
    scene, made = tidr.load("cornell"), {}
    if file.exists():
        target = np.load(file)
    else:
        tracer = PathTracer(samples=SAMPLES, max_depth=DEPTH, seed=SEED)
        target = tidr.render(scene, "front", tracer, SIZE, SIZE).rgb.numpy()
    parameters = scene.parameters("red.albedo")
    wall = parameters["red.albedo"]
    wall.set(START)
    optimizer = tidr.Adam(parameters, lr=recipe.lr, betas=recipe.betas)
    made["begins_s"] = time.time() - begun
    for step in range(recipe.steps):
        optimizer.lr = recipe.lr * (recipe.last_lr / recipe.lr) ** (step / recipe.steps)
        with tidr.Tape(parameters) as tape:
            renderer = PathTracer(samples=recipe.samples, max_depth=DEPTH, seed=step)
            tape.add(tidr.losses.mse(tidr.render(scene, "front", renderer, SIZE, SIZE).rgb, target))
        optimizer.step()
        if np.abs(wall.numpy() - RED).max() < 0.01:
            made |= {"reached_s": time.time() - begun, "steps": step + 1}
            break
    if not file.exists():
        np.save(file, target)
    return made


def run(command: list[str], folder: Path) -> dict[str, float]:
    """The figures that a process of its own prints, with all that it keeps compiled in `folder`."""
    caches = {"HOME": str(folder), "TI_OFFLINE_CACHE_FILE_PATH": str(folder / "taichi")}
    command = [*command, "--begun", str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | caches)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--recipe", default="", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.recipe:
        print(json.dumps(fit(RECIPES[options.recipe], options.file, options.begun)))
        return
    sides = {name: [sys.executable, __file__, "--recipe", name] for name in RECIPES}
    if options.rivals:
        sides["mitsuba"] = [options.python, str(RIVAL), "--rivals", str(options.rivals)]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        # a target that is made is written where the fit of a stored one reads it
        for turn, kind, side in itertools.product(range(options.turns), ("made", "stored"), sides):
            caches = Path(name) / f"{turn}_{kind}_{side}"
            file = Path(name) / f"{'mitsuba' if side == 'mitsuba' else 'tidr'}.npy"
            caches.mkdir()
            for state in ("cold", "warm"):
                if kind == "made":
                    file.unlink(missing_ok=True)
                figures = run([*sides[side], "--file", str(file)], caches)
                rows.append({"target": kind, "caches": state, "side": side, **figures})
                print(kind, state, side, {key: round(value, 2) for key, value in figures.items()}, flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
