"""Times a hash-grid encoding with a small network, forward and backward, beside a rival's script.

    python tests/benchmarks/volume_field.py [--rivals FOLDER --python PYTHON]

FOLDER holds w6_hashgrid.py; PYTHON is the interpreter that has the rivals installed. 16 levels of 2 features, 2^16
entries, then 64 and 64 and 4 numbers, at 65,536 random points; loss: the mean square of the outputs. The two are timed
one after the other, twice, and the smaller median counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import taichi as ti

import tidr
from tidr.kernels.field import BLOCK, hash_grid
from tidr.kernels.field.network import LINEAR, RELU
from tidr.renderers.field_hash import HashEvaluator
from tidr.scene.field import HashField, Network

POINTS, WARM_UP, REPETITIONS = 1 << 16, 3, 15


def plain_network(encoding: int, width: int) -> Network:
    """encoding -> width -> width -> 4."""
    network = Network(encoding + 2 * width + 4, encoding + 2 * width, (0, encoding), encoding)
    network.add(0, encoding, encoding, width, RELU)
    network.add(encoding, width, encoding + width, width, RELU)
    network.add(encoding + width, width, encoding + 2 * width, 4, LINEAR)
    return network


@ti.kernel
def loss_gradient(blocks: ti.i32, rows: ti.i32, values: hash_grid.A1, to_outputs: hash_grid.A1):
    """Of the mean square of the last four rows."""
    for block in range(blocks):
        for s in range(4 * BLOCK):
            value = values[(block * rows + rows - 4) * BLOCK + s]
            to_outputs[4 * block * BLOCK + s] = value / (2.0 * blocks * BLOCK)


def hash_milliseconds(points: int = POINTS) -> float:
    """Median time of encoding, network, loss gradient and both adjoints."""
    tidr.init(arch="cpu")
    field = HashField(finest_resolution=16 * round(1.5**15))
    field.network = plain_network(32, 64)
    field.weights = tidr.Parameter(field.network.start(np.random.default_rng(0)))
    evaluator = HashEvaluator(field, points)
    places = np.zeros(3 * evaluator.capacity)
    places[: 3 * points] = np.random.default_rng(1).random(3 * points)
    evaluator.samples.positions.ndarray.from_numpy(places.astype(np.float32))

    def step() -> None:
        field.table.zero_grad()
        field.weights.zero_grad()
        evaluator.encode(field, points)
        evaluator.forward(field.weights, points)
        loss_gradient(points // BLOCK, field.network.rows, evaluator.values.ndarray, evaluator.to_outputs.ndarray)
        evaluator.backward(field.weights, points)
        evaluator.encode_adjoint(field, points, False)
        ti.sync()

    times = []
    for _ in range(WARM_UP + REPETITIONS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[WARM_UP:])


def rival_milliseconds(folder: Path, python: str) -> float:
    """Median of the rival's own script, forward and backward."""
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "rival.jsonl"
        command = [python, "w6_hashgrid.py", "--only", "drjit-nn-f32", "--json", str(path)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return float(json.loads(path.read_text().splitlines()[-1])["fwdbwd_ms"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    ours, theirs = [], []
    for _ in range(2):
        ours.append(hash_milliseconds())
        if options.rivals:
            theirs.append(rival_milliseconds(options.rivals, options.python))
    print(f"hash grid 16 x 2, 2^16 entries, MLP 64 x 2, {POINTS} points: tidr {min(ours):.1f} ms")
    if theirs:
        print(f"rival {min(theirs):.1f} ms, {min(theirs) / min(ours):.2f} times slower")
    return 0


if __name__ == "__main__":
    sys.exit(main())
