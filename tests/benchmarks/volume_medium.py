"""Times the gradient of a single-scattering medium beside Mitsuba's prbvolpath, in one run on one machine.

    python tests/benchmarks/volume_medium.py [--python PYTHON] [--json OUT]

PYTHON is the interpreter that has Mitsuba installed; without it only tidr is timed. Both render the same 64^3
extinctions (four soft blobs, albedo 0.8, Henyey-Greenstein g = 0.3) under one directional light at 256^2, the loss is
mean((image - 0.5)^2), the gradient that of the extinctions. Mitsuba runs to depth 2, which is single scattering.

A quadrature has bias where a path tracer has variance, so both are given as the RMS error of one gradient, relative to
the RMS of a reference (512 steps, 128 light steps, 129 nodes), over all cells and over the dense ones (extinction > 1 %
of the largest). The time that Mitsuba would need for our error is its time * (its error / our error)^2.
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

CELLS, SIZE, ALBEDO, MEAN_COSINE, IRRADIANCE = 64, 256, 0.8, 0.3, 3.0
EYE, FOV_DEGREES = np.array([1.2, 0.9, 2.6]), 40.0
TO_LIGHT = np.array([0.5, 0.8, 0.6]) / np.linalg.norm([0.5, 0.8, 0.6])
WARM_UP, REPETITIONS = 3, 9
BLOBS = ((0, 0, 0, 0.45), (0.4, 0.3, -0.2, 0.25), (-0.45, -0.2, 0.3, 0.3), (0.1, -0.5, -0.3, 0.2))


def extinctions() -> np.ndarray:
    """[D, H, W] in the box from -1 to 1."""
    axis = (np.arange(CELLS) + 0.5) / CELLS * 2 - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    squares = [((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2, r / 2) for a, b, c, r in BLOBS]
    return sum(8 * np.exp(-square / (2 * width**2)) for square, width in squares)


def ours(steps: int, light_steps: int, light_nodes: int, repetitions: int = REPETITIONS) -> dict:
    """Median time of forward and backward in ms, image and gradient."""
    import tidr
    from tidr.array import Array
    from tidr.renderers.volume import VolumeRenderer
    from tidr.runtime import taichi
    from tidr.scene.volume import Volume

    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    medium = Volume(extinctions(), albedo=[ALBEDO] * 3, g=MEAN_COSINE)
    scene.add_node("cloud", tidr.Node(medium))
    scene.add_light("sun", tidr.DirectionalLight(-TO_LIGHT, IRRADIANCE))
    scene.add_camera("eye", tidr.Camera.look_at(EYE, (0, 0, 0), fov_y_degrees=FOV_DEGREES, width=SIZE, height=SIZE))
    settings = VolumeRenderer(steps=steps, light_steps=light_steps, light_nodes=light_nodes)
    target = Array.of(np.full((SIZE, SIZE, 3), 0.5), needs_grad=False)
    times, image = [], None
    for turn in range(WARM_UP + repetitions):
        start = time.perf_counter()
        with tidr.Tape(scene.parameters("cloud.density")) as tape:
            image = tidr.render(scene, renderer=settings).rgb
            tape.add(tidr.losses.mse(image, target))
        taichi().sync()
        if turn >= WARM_UP:
            times.append(time.perf_counter() - start)
    assert image is not None
    return {
        "ms": statistics.median(times) * 1e3,
        "image": image.numpy(),
        "gradients": medium.density.grad_numpy()[None],
    }


def mitsubas(samples: int, out: Path) -> None:
    """Times and gradients of one sample count, written to `out`; runs in the interpreter that has Mitsuba."""
    import drjit as dr  # pyright: ignore[reportMissingImports]
    import mitsuba as mi  # pyright: ignore[reportMissingImports]

    mi.set_variant("llvm_ad_rgb")
    transform = mi.ScalarTransform4f
    grid = mi.VolumeGrid(np.ascontiguousarray(extinctions()[..., None], np.float32))
    box = transform().translate([-1, -1, -1]).scale(2)
    scene = mi.load_dict({
        "type": "scene",
        "sun": {
            "type": "directional", "direction": (-TO_LIGHT).tolist(), "irradiance": {"type": "rgb", "value": IRRADIANCE}
        },
        "cube": {
            "type": "cube", "bsdf": {"type": "null"},
            "interior": {
                "type": "heterogeneous", "albedo": ALBEDO, "scale": 1.0, "phase": {"type": "hg", "g": MEAN_COSINE},
                "sigma_t": {"type": "gridvolume", "grid": grid, "to_world": box},
            },
        },
        "sensor": {
            "type": "perspective", "fov": FOV_DEGREES,
            "to_world": transform().look_at(EYE.tolist(), [0, 0, 0], [0, 1, 0]),
            "film": {
                "type": "hdrfilm", "width": SIZE, "height": SIZE, "rfilter": {"type": "box"}, "pixel_format": "rgb"
            },
        },
    })  # fmt: skip
    parameters = mi.traverse(scene)
    key = next(k for k in parameters.keys() if k.endswith("sigma_t.data"))  # noqa: SIM118
    integrator = mi.load_dict({"type": "prbvolpath", "max_depth": 2, "rr_depth": 1000})
    times, images, gradients = [], [], []
    for turn in range(WARM_UP + REPETITIONS):
        start = time.perf_counter()
        parameters[key] = mi.TensorXf(dr.detach(parameters[key]))
        dr.enable_grad(parameters[key])
        parameters.update()
        image = mi.render(scene, parameters, integrator=integrator, spp=samples, seed=2 * turn, seed_grad=2 * turn + 1)
        dr.backward(dr.mean(dr.square(image - 0.5), axis=None))
        gradient = dr.grad(parameters[key])
        dr.eval(gradient)
        dr.sync_thread()
        if turn >= WARM_UP:
            times.append(time.perf_counter() - start)
            images.append(np.array(dr.detach(image)))
            gradients.append(np.array(gradient)[..., 0])
    np.savez(out, ms=statistics.median(times) * 1e3, image=np.mean(images, 0), gradients=np.stack(gradients))


def errors(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """RMS error of one gradient of found [n, D, H, W], relative to the RMS of the reference."""
    dense = extinctions() > 0.01 * extinctions().max()
    return {
        name: float(np.sqrt(np.mean([((one - reference)[cells] ** 2).mean() for one in found])) / rms(reference[cells]))
        for name, cells in (("all", np.ones_like(dense)), ("dense", dense))
    }


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter that has mitsuba")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--mitsuba-case", nargs=2, metavar=("SAMPLES", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mitsuba_case:
        mitsubas(int(arguments.mitsuba_case[0]), Path(arguments.mitsuba_case[1]))
        return
    reference = ours(512, 128, 129, repetitions=1)
    exact, rows = reference["gradients"][0], []
    for setting in ((32, 16, 33), (64, 32, 49), (128, 32, 65)):
        result = ours(*setting)
        rows.append({"who": f"tidr {setting}", "ms": result["ms"], **errors(result["gradients"], exact)})
    for samples in arguments.samples if arguments.python else []:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "case.npz"
            subprocess.run([arguments.python, __file__, "--mitsuba-case", str(samples), str(out)], check=True)
            result = np.load(out)
            row = {"who": f"mitsuba {samples} spp", "ms": float(result["ms"]), **errors(result["gradients"], exact)}
            row["image over ours"] = float(result["image"].mean() / reference["image"].mean())
            for ratio in ("all", "dense"):
                equal = row["ms"] * (row[ratio] / rows[1][ratio]) ** 2
                row[f"times slower at our error, {ratio}"] = equal / rows[1]["ms"]
            rows.append(row)
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
