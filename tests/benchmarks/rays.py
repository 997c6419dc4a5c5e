"""Times closest_hit and any_hit of the BVH, its build and its refit.

    python tests/benchmarks/rays.py [--json OUT] [--precision 32|64]

36 triangles (two thin plates and a box) and an icosphere of 81,920. Primary rays come from a pinhole camera at 512^2,
row by row; incoherent ones start anywhere in a cube and go anywhere. Rates are those of the best turn in Mray/s, by the
clock and, as "mray_per_s_of_cpu", by the processor time that the process really had: what an idle machine would give,
should other work have been running beside.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import taichi as ti

import tidr
from tidr import runtime
from tidr.array import Array
from tidr.kernels import bvh as device
from tidr.kernels.accumulate import load3
from tidr.renderers.bvh import Bvh

SIDE, TURNS = 512, 30
A1, A2 = ti.types.ndarray(ndim=1), ti.types.ndarray(ndim=2)


@ti.kernel
def closest(rays: ti.i32, o: A2, d: A2, out: A2, nodes: A1, leaves: A1):
    for i in range(rays):
        _, t, _, _ = device.closest_hit(load3(o, i), load3(d, i), 1e30, nodes, leaves)
        out[i, 0] = t


@ti.kernel
def any_of(rays: ti.i32, o: A2, d: A2, out: A2, nodes: A1, leaves: A1):
    for i in range(rays):
        out[i, 0] = ti.cast(device.any_hit(load3(o, i), load3(d, i), 1e30, nodes, leaves), float)


def box(size: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    """Corners [12, 3, 3] of an axis-aligned box."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size + place
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return np.concatenate([corners[[quad[:3], [quad[0], *quad[2:]]]] for quad in quads])


def meshes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    plates = [box((2, 2, 0.01), (0, 0, -1)), box((2, 0.01, 2), (0, -1, 0)), box((0.5, 0.5, 0.5), (0, 0, 0))]
    return {
        "36 triangles": (np.concatenate(plates).reshape(-1, 3), np.arange(108).reshape(-1, 3)),
        "icosphere, 81,920": tidr.icosphere(6),
    }


def ray_sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng, count = np.random.default_rng(0), SIDE * SIDE
    x, y = np.meshgrid(*2 * [np.linspace(-0.4, 0.4, SIDE)])
    primary = np.stack([x, y, np.full_like(x, -1)], -1).reshape(-1, 3)
    anywhere = rng.normal(size=(count, 3))
    return {
        "primary": (np.tile([0, 0, 3.0], (count, 1)), primary / np.linalg.norm(primary, axis=1, keepdims=True)),
        "incoherent": (
            rng.uniform(-0.6, 0.6, (count, 3)),
            anywhere / np.linalg.norm(anywhere, axis=1, keepdims=True),
        ),
    }


def best_seconds(turn: Callable[[], None], turns: int = TURNS) -> tuple[float, float]:
    """(by the clock, by the time of all processors together), each of its best turn, after two to warm up."""
    clock, busy = [], []
    for _ in range(turns + 2):
        start, started = time.perf_counter(), time.process_time()
        turn()
        ti.sync()
        clock.append(time.perf_counter() - start)
        busy.append(time.process_time() - started)
    return min(clock[2:]), min(busy[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arch", default="cpu")
    parser.add_argument("--precision", type=int, default=32)
    arguments = parser.parse_args()
    tidr.init(arch=arguments.arch, precision=arguments.precision)
    rows, count = [], SIDE * SIDE
    rays = {name: [Array.of(array) for array in pair] for name, pair in ray_sets().items()}
    out = Array.of(np.zeros((count, 1)))
    for mesh, (vertices, faces) in meshes().items():
        bvh, positions = Bvh(faces), Array.of(vertices)
        bvh.update(positions.value)
        fresh = lambda: Bvh(faces).update(positions.value)  # noqa: B023, E731
        refit = lambda: bvh.update(positions.value)  # noqa: B023, E731
        for name, turn in (("build", fresh), ("refit", refit)):
            clock, busy = best_seconds(turn, 5)
            rows.append({"mesh": mesh, "what": name, "ms": clock * 1e3, "ms_of_cpu": busy * 1e3})
        for name, (o, d) in rays.items():
            for kernel in (closest, any_of):
                start = time.perf_counter()
                kernel(count, o.value, d.value, out.value, bvh.nodes, bvh.leaves)
                ti.sync()
                first = time.perf_counter() - start
                clock, busy = best_seconds(
                    lambda: kernel(count, o.value, d.value, out.value, bvh.nodes, bvh.leaves)  # noqa: B023
                )
                row = {"mesh": mesh, "what": f"{name} {kernel.__name__}", "mray_per_s": count / clock / 1e6}
                rows.append(
                    {**row, "mray_per_s_of_cpu": count * runtime.current().threads / busy / 1e6, "first_call_s": first}
                )
    for row in rows:
        sys.stdout.write(json.dumps({k: v if isinstance(v, str) else float(f"{v:.3g}") for k, v in row.items()}) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
