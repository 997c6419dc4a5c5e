"""Trains many Gaussians for long and prints how resident memory and device buffers grow.

    python tests/benchmarks/soak_splats.py [--steps 2000] [--count 100000] [--side 64]

Exit code 1 when memory after the last step is 5 % or more above that after step 100, or a buffer was allocated in the
second half: lists of splats may still find their size in the first.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tidr
from tests.benchmarks.soak_fit import LARGEST_GROWTH, resident_mb
from tidr import buffer
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import Watcher
from tidr.fitting.settings import DensifySettings, FitSettings, ParameterSettings

FIRST = 100
RATES = {"means": 1e-4, "log_scales": 5e-3, "rotations": 1e-3, "opacity_logits": 5e-2, "sh_dc": 2.5e-3}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    marks, begun = {}, time.monotonic()

    class Scale(Watcher):
        def step(self, step: int, loss: float, psnr: float | None) -> None:
            if step % FIRST == 0:
                marks[step] = (resident_mb(), buffer.allocations)
                each = (time.monotonic() - begun) / step
                memory = f"{marks[step][0]:.1f} MB, {marks[step][1]} buffers"
                print(f"step {step}: loss {loss:.4f}, {memory}, {each:.2f} s each", flush=True)

    tidr.init("cpu")
    rng, duck = np.random.default_rng(0), tidr.load("duck")
    scene = tidr.Scene(tidr.Film(options.side, options.side))
    places, colors = rng.uniform(-1, 1, (options.count, 3)), rng.random((options.count, 3))
    scene.add_node("fog", tidr.Node(tidr.Gaussians.from_colors(places, colors, 0.01)))
    settings = FitSettings(
        views=duck.fit.views,
        start={"fog": "box"},
        parameters={f"fog.{name}": ParameterSettings(lr=lr) for name, lr in RATES.items()},
        losses={"l1": 0.8, "dssim": 0.4, "gaussian_opacity": 0.01},
        renderer={"type": "points"},
        resolution=(options.side, options.side),
        # Relocation every 100 steps: rows move, their number stays.
        densify={"fog": DensifySettings(method="mcmc", from_step=0, max_count=options.count)},
        steps=options.steps,
        views_per_step=1,
        save_every=500,
        save_seconds=1e9,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit_from_settings(scene, settings, Path(folder) / "run", watcher=Scale())
    (first, _), *_, (last, after) = marks.values()
    before = next(count for step, (_, count) in marks.items() if 2 * step >= options.steps)
    print(f"memory grew by {100 * (last / first - 1):.2f} %, {after - before} buffers allocated in the second half")
    return 0 if last < LARGEST_GROWTH * first and after == before else 1


if __name__ == "__main__":
    sys.exit(main())
