"""Kills a fit at random moments and resumes it each time.

    python tests/benchmarks/kill_fit.py [--times 50] [--seed 0]

Each turn resumes the fit of a small scene, kills it with SIGKILL up to two seconds after it has caught up with what was
saved, and looks whether the newest checkpoint is whole and at most one save interval old. Exit code 1 when one is not.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fit_toys import write_toy
from tests.test_checkpoint import kill_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        scene = write_toy(Path(folder), steps=10**6)
        reached = 0
        for number in range(options.times):
            seconds = float(random.uniform(0, 2))
            try:
                reached = kill_once(scene, Path(folder) / "run", reached, seconds)
            except AssertionError as error:
                print(f"kill {number + 1} after {seconds:.2f} s: {error}")
                return 1
            print(f"kill {number + 1}/{options.times} after {seconds:.2f} s: goes on from step {reached}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
