"""Runs a fit for long and prints how resident memory grows.

    python tests/benchmarks/soak_fit.py [--steps 2000]

Exit code 1 when memory after the last step is 5 % or more above that after a tenth of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tidr
from tests.fit_toys import toy_scene, toy_settings
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import Watcher

LARGEST_GROWTH = 1.05


def resident_mb() -> float:
    """Resident memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS in /proc/self/status")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    marks = {}

    class Scale(Watcher):
        def step(self, step: int, loss: float, psnr: float | None) -> None:
            if step % max(options.steps // 10, 1) == 0:
                marks[step] = resident_mb()
                print(f"step {step}: {marks[step]:.1f} MB", flush=True)

    tidr.init("cpu")
    with tempfile.TemporaryDirectory() as folder:
        settings = toy_settings(Path(folder), steps=options.steps)
        fit_from_settings(toy_scene(), settings, Path(folder) / "run", watcher=Scale())
    first, *_, last = marks.values()
    print(f"grew by {100 * (last / first - 1):.2f} %")
    return 0 if last < LARGEST_GROWTH * first else 1


if __name__ == "__main__":
    sys.exit(main())
