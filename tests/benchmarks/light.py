"""Times light transport beside a rival's script, in one run on one machine.

    python tests/benchmarks/light.py [--rivals FOLDER --python PYTHON] [--only NAME] [--json OUT]

FOLDER holds w5_gi_mitsuba.py; PYTHON is the interpreter that has the rival installed. Without them only tidr is timed.
Each case runs in its own process. "path": the Cornell box, 256 x 256, 16 samples, depth 8, forward, and with the
gradient of a wall's colour. (colour.py times a fit of that colour.)
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np
from cases import run_cases

import tidr
from tidr.array import Array
from tidr.renderers.path import PathTracer
from tidr.runtime import taichi

PIXELS, SAMPLES, DEPTH = 256, 16, 8
WARM_UP, REPETITIONS = 2, 9


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


CASES = {
    "path": path_times,
}
RIVALS = {
    "path": ("cbox/256/scalar_rgb-path-16spp", "cbox/256/llvm_ad_rgb-path-16spp", "cbox/256/llvm_ad_rgb-prb-16spp"),
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
