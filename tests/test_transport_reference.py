"""Pictures of an independent renderer, Mitsuba 3, drawn again by paths and by photons; see tests/reference."""

from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh

from .reference.mitsuba_scenes import BLOCK, SIZE, STAGES, Stage

PICTURES = Path(__file__).parent / "reference" / "mitsuba_blocks.npz"
SEEDS = 8
ROUNDED = 2.0**-11  # of what 16 bits hold
SINGLE = 0.0005  # of a block or picture: two programs in single precision
DARK = 1e-6  # a radiance that counts as none
BLURRED, BLURRED_MEAN = 0.03, 0.006  # of a block, and of the whole picture: what the photons' kernel moves


def material(given: tuple, emission) -> Material:
    shines = {} if emission is None else {"emission": emission}
    if given[0] == "glass":
        return Material("dielectric", ior=given[1])
    if given[0] == "mirror":
        return Material("conductor", eta=given[1], k=given[2])
    return Material("lambert", albedo=given[1], **shines)


def scene_of(stage: Stage) -> Scene:
    """The stage, a bulb that is out, and a speck that is said to be of glass and mirror: kernels are compiled once, and
    are those of `photon_stage`."""
    scene = Scene()
    for name, shape in stage.shapes.items():
        scene.add_material(f"{name} surface", material(stage.materials[shape.material], shape.emission))
        scene.add_node(name, Node(Mesh(shape.corners, shape.faces, shading="flat"), (f"{name} surface",)))
    for name, given in {"grey": ("diffuse", 0.5), "glass": ("glass", 1.5), "metal": ("mirror", 0.2, 3.0)}.items():
        scene.add_material(name, material(given, None))
    speck = Mesh(1e-4 * np.eye(3), [[0, 1, 2]], shading="flat")
    scene.add_node("speck", Node(speck, ("grey", "glass", "metal")))
    scene.add_light("bulb", PointLight((0, 1, 0), 0.0))
    return scene


def blocks(picture: np.ndarray) -> np.ndarray:
    count = SIZE // BLOCK
    return picture.reshape(count, BLOCK, count, BLOCK, 3).mean((1, 3))


RENDERERS = {
    "path": lambda seed: PathTracer(samples=32, max_depth=1000, roulette_depth=8, seed=seed),
    "photons": lambda seed: PhotonMapper(
        photons=5000, passes=32, radius=0.05, max_depth=32, roulette_depth=6, seed=seed
    ),
}


@pytest.mark.parametrize(
    "renderer", [pytest.param("path", marks=pytest.mark.row(45)), pytest.param("photons", marks=pytest.mark.row(51))]
)
@pytest.mark.parametrize("name", STAGES)
def test_mitsubas_pictures_are_drawn_again(f32, name, renderer):
    stage = STAGES[name]()
    position, target, degrees = stage.camera
    scene, camera = scene_of(stage), Camera.look_at(position, target, fov_y_degrees=degrees)
    with np.load(PICTURES) as held:
        truth, variance = held[name].astype(np.float64), held[f"{name}_variance"].astype(np.float64)
    found = []
    for seed in range(SEEDS):
        image = tidr.render(scene, camera=camera, renderer=RENDERERS[renderer](seed), width=SIZE, height=SIZE)
        found.append(blocks(image.rgb.numpy().astype(np.float64)))
    seen, error = np.mean(found, 0), np.sqrt(np.var(found, axis=0, ddof=1) / SEEDS + variance)
    blurred, blurred_mean = (BLURRED, BLURRED_MEAN) if renderer == "photons" else (SINGLE, SINGLE)
    off = np.abs(seen - truth) / (3 * error + (ROUNDED + blurred) * truth + DARK)
    assert (off < 1).all(), f"block {np.unravel_index(off.argmax(), off.shape)}: {off.max():.2f} of what is allowed"
    whole = np.sqrt(np.var(np.mean(found, (1, 2, 3)), ddof=1) / SEEDS + variance.sum() / variance.size**2)
    assert abs(seen.mean() - truth.mean()) < 3 * whole + (ROUNDED + blurred_mean) * truth.mean()
    assert whole < 0.01 * truth.mean()
    assert np.median(error[truth > 0] / truth[truth > 0]) < 0.02
