"""Times light transport beside a rival's script, in one run on one machine.

    python tests/benchmarks/light.py [--rivals FOLDER --python PYTHON] [--only NAME] [--json OUT]

FOLDER holds w5_gi_mitsuba.py; PYTHON is the interpreter that has the rival installed. Without them only tidr is timed.
Each case runs in its own process. "path": the Cornell box, 256 x 256, 16 samples, depth 8, forward, and with the
gradient of a wall's colour. "colour": seconds from the start of the process, the making of the target included, to a
wall's colour within .01, by the rival's own recipe: Adam with its usual settings, 4 samples a pixel. "decay": the same
by a recipe of ours, with 2 samples, a shorter memory and a rate that falls.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import time
from dataclasses import dataclass

import numpy as np
from cases import run_cases

import tidr
from tidr.array import Array
from tidr.renderers.path import PathTracer
from tidr.runtime import taichi

PIXELS, SAMPLES, DEPTH = 256, 16, 8
WARM_UP, REPETITIONS = 2, 9
RED, START = (0.61, 0.06, 0.06), (0.01, 0.2, 0.9)


def path_times(options: argparse.Namespace) -> dict[str, float]:
    """Forward, and forward and backward to the colour of the red wall."""
    scene, sync = tidr.load("cornell"), taichi().sync
    wanted = scene.parameters("red.albedo")
    grey = Array.of(np.full((PIXELS, PIXELS, 3), 0.5), needs_grad=False)
    forward, backward = [], []
    for turn in range(WARM_UP + REPETITIONS):
        renderer = PathTracer(samples=SAMPLES, max_depth=DEPTH, seed=turn)
        start = time.perf_counter()
        with tidr.Tape(wanted) as tape:
            rgb = tidr.render(scene, "front", renderer, PIXELS, PIXELS).rgb
            sync()
            middle = time.perf_counter()
            tape.add(tidr.losses.mse(rgb, grey))
        sync()
        forward.append((middle - start) * 1e3)
        backward.append((time.perf_counter() - middle) * 1e3)
    ahead, back = (statistics.median(times[WARM_UP:]) for times in (forward, backward))
    return {"forward_ms": ahead, "backward_ms": back, "backward_of_forward": back / ahead}


@dataclass(frozen=True)
class Recipe:
    """Samples of a pixel in each step, Adam's rate at the first and the last of so many steps, and its betas."""

    samples: int
    lr: float
    last_lr: float
    steps: int
    betas: tuple[float, float] = (0.9, 0.999)


RIVALS_OWN, DECAY = Recipe(4, 0.05, 0.05, 120), Recipe(2, 0.2, 0.004, 40, (0.7, 0.9))


def colour_times(recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """The rival's fit at 128 x 128: seconds to the largest error of the wall's colour."""
    scene, made = tidr.load("cornell"), {"loaded_s": time.time() - options.begun}
    target = tidr.render(scene, "front", PathTracer(samples=512, max_depth=DEPTH, seed=9999), 128, 128).rgb.numpy()
    parameters = scene.parameters("red.albedo")
    wall = parameters["red.albedo"]
    wall.set(START)
    optimizer = tidr.Adam(parameters, lr=recipe.lr, betas=recipe.betas)
    made["target_s"] = time.time() - options.begun
    for step in range(recipe.steps):
        optimizer.lr = recipe.lr * (recipe.last_lr / recipe.lr) ** (step / recipe.steps)
        with tidr.Tape(parameters) as tape:
            renderer = PathTracer(samples=recipe.samples, max_depth=DEPTH, seed=step)
            tape.add(tidr.losses.mse(tidr.render(scene, "front", renderer, 128, 128).rgb, target))
        optimizer.step()
        error = np.abs(wall.numpy() - RED).max()
        for level in (0.1, 0.03, 0.01):
            if error < level and f"to_{level:g}_s" not in made:
                made |= {f"to_{level:g}_s": time.time() - options.begun, f"to_{level:g}_steps": step + 1}
    return made


CASES = {
    "path": path_times,
    "colour": functools.partial(colour_times, RIVALS_OWN),
    "decay": functools.partial(colour_times, DECAY),
}
RIVALS = {
    "path": ("cbox/256/scalar_rgb-path-16spp", "cbox/256/llvm_ad_rgb-path-16spp", "cbox/256/llvm_ad_rgb-prb-16spp"),
    "colour": ("colourfit/128-4spp",),
    "decay": (),
}


def rivals(name: str, ours: dict[str, float], options: argparse.Namespace) -> list[dict]:
    """The rival's figures of one case, measured now; printed and returned."""
    rows = []
    for case in RIVALS[name]:
        begun = time.perf_counter()
        command = [options.python, str(options.rivals / "w5_gi_mitsuba.py"), "--only", f"{case}"]
        done = subprocess.run(command, capture_output=True, text=True)
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        kept = ("forward_ms", "backward_ms", "s_to_err", "first_iter_ms")
        for record in records:
            row = {"case": name, "rival": case, "seconds": time.perf_counter() - begun}
            row |= {key: record[key] for key in kept if record.get(key) is not None}
            if "forward_ms" in row and "forward_ms" in ours:
                row["ratio"] = row["forward_ms"] / ours["forward_ms"]
            rows.append(row)
            print("  ", row, flush=True)
        if not records:
            print(f"  {case}: did not run\n{done.stderr[-500:]}")
    return rows


if __name__ == "__main__":
    run_cases(__file__, __doc__, CASES, rivals)
