"""Draws the scenes of mitsuba_scenes.py with Mitsuba 3, for tests/test_transport_reference.py to compare with.

    python tests/reference/make_mitsuba_blocks.py [--variant llvm_ad_rgb] [--seconds 60]

Needs `pip install mitsuba` (3.5 or later), in an environment of its own; tests only read what it wrote,
mitsuba_blocks.npz beside this file: for each scene the mean of every block of pixels [SIZE / BLOCK, SIZE / BLOCK, 3]
(float32), and the variance of that mean, from independent seeds. Paths from the
camera, weighed with light sampling, have no bias and find caustics as soon as the lamp is not small.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mitsuba_scenes import BLOCK, SIZE, STAGES, Shape, Stage

LEAST = 16  # renders that a variance is made of


def material(mi, given: tuple) -> dict:
    """Mitsuba's description of a material; diffuse ones scatter on both sides, as tidr's do."""
    if given[0] == "glass":
        return {"type": "dielectric", "int_ior": given[1], "ext_ior": 1.0}
    if given[0] == "mirror":
        numbers = {
            name: {"type": "rgb", "value": list(value)} for name, value in zip(("eta", "k"), given[1:], strict=True)
        }
        return {"type": "conductor", **numbers}
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": list(given[1])}}}


def shape(mi, name: str, given: Shape, materials: dict[str, tuple]):
    """A mesh without vertex normals."""
    options = mi.Properties()
    options["bsdf"] = mi.load_dict(material(mi, materials[given.material]))
    if given.emission is not None:
        options["emitter"] = mi.load_dict({"type": "area", "radiance": {"type": "rgb", "value": list(given.emission)}})
    made = mi.Mesh(name, len(given.corners), len(given.faces), props=options)
    parameters = mi.traverse(made)
    parameters["vertex_positions"] = given.corners.astype(np.float32).ravel()
    parameters["faces"] = given.faces.astype(np.uint32).ravel()
    parameters.update()
    return made


def scene(mi, stage: Stage):
    position, target, degrees = stage.camera
    film = {"type": "hdrfilm", "width": SIZE, "height": SIZE, "rfilter": {"type": "box"}, "pixel_format": "rgb"}
    to_world = mi.ScalarTransform4f().look_at(origin=position, target=target, up=[0, 1, 0])
    sensor = {
        "type": "perspective",
        "fov": degrees,
        "fov_axis": "x",
        "to_world": to_world,
        "film": film,
        "near_clip": 1e-3,
    }
    shapes = {name: shape(mi, name, given, stage.materials) for name, given in stage.shapes.items()}
    return mi.load_dict({"type": "scene", "sensor": sensor, **shapes})


def blocks(picture: np.ndarray) -> np.ndarray:
    count = SIZE // BLOCK
    return picture.reshape(count, BLOCK, count, BLOCK, 3).mean((1, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="llvm_ad_rgb")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each scene")
    parser.add_argument("--samples", type=int, default=1024, help="of a pixel in each of its renders")
    options = parser.parse_args()
    import mitsuba as mi

    mi.set_variant(options.variant)
    arrays = {}
    for name, make in STAGES.items():
        drawn, integrator = scene(mi, make()), mi.load_dict({"type": "path", "max_depth": -1, "rr_depth": 8})
        means, end = [], time.monotonic() + options.seconds
        while len(means) < LEAST or time.monotonic() < end:
            picture = mi.render(drawn, integrator=integrator, spp=options.samples, seed=len(means))
            means.append(blocks(np.array(picture, np.float64)))
        means = np.stack(means)
        variance = means.var(0, ddof=1) / len(means)
        mean = means.mean(0)
        arrays[name], arrays[f"{name}_variance"] = mean.astype(np.float32), variance.astype(np.float32)
        relative = np.sqrt(variance) / np.maximum(mean, 1e-9)
        print(f"{name}: {len(means)} renders, relative error of a block {relative.mean():.4f}, <= {relative.max():.4f}")
    np.savez_compressed(Path(__file__).with_name("mitsuba_blocks.npz"), **arrays)


if __name__ == "__main__":
    main()
