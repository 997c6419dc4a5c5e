"""Takes the two RGBD pictures of `tidr fit rgbd_pose`. Run: python scenes/make_rgbd.py [FOLDER]

The duck and the bracket stand in the Cornell box. The second camera is 5 cm away from the first and turned by 2 degrees
(one unit is one metre). Colours are drawn at four times their size and averaged down; depths, in millimetres as 16-bit
PNG, are those at the pixels' centres.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.depth import write_depth
from tidr.files.image import write_image

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import averaged

WIDTH, HEIGHT, OVERSAMPLING = 160, 120, 4
FOCAL = 130.0  # pixels
POSITION = np.array([0.0, 0.0, 1.7])  # of the first camera, which looks along -z
SHIFT, AXIS, TURN_DEGREES = np.array([0.6, 0.48, -0.64]) * 0.05, np.array([0.48, 0.8, 0.36]), 2.0


def cameras() -> tuple[tidr.Camera, tidr.Camera]:
    """The first and the second."""
    half = np.radians(TURN_DEGREES) / 2
    turn = np.append(np.cos(half), np.sin(half) * AXIS)
    lens = ((FOCAL, FOCAL), (WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT)
    return tidr.Camera(POSITION, (1, 0, 0, 0), *lens), tidr.Camera(POSITION + SHIFT, turn, *lens)


def room() -> tidr.Scene:
    """The Cornell box without its boxes, with the duck and the bracket in it, and lights that a rasterizer draws."""
    scene, duck, bracket = (tidr.load(name) for name in ("cornell", "duck", "bracket"))
    for name in ("tall_box", "short_box"):
        del scene.nodes[name]
    scene.materials["panel"] = tidr.Material("lambert", albedo=(0.95, 0.93, 0.88))
    scene.add_light("lamp", tidr.PointLight((0, 0.85, 0), (3.2, 2.9, 2.4)))
    scene.add_light("bounce", tidr.AmbientLight((0.16, 0.14, 0.12)))
    scene.add_material("paint", duck.materials["paint"])
    scene.add_material("steel", bracket.materials["steel"])
    turn = (np.cos(0.3), 0.0, np.sin(0.3), 0.0)
    scene.add_node("duck", tidr.Node(duck["duck"].geometry, ("paint",), None, (-0.3, -0.62, -0.1), turn, 0.45))
    scene.add_node("bracket", tidr.Node(bracket["bracket"].geometry, ("steel",), None, (0.45, -0.6, -0.45), turn, 0.7))
    return scene


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene, drawer = room(), tidr.Rasterizer(edges="none")
    for name, camera in zip(("first", "second"), cameras(), strict=True):
        fine = tidr.render(scene, camera, drawer, WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
        write_image(folder / f"{name}.webp", averaged(fine.rgb.numpy(), OVERSAMPLING))
        write_depth(folder / f"{name}_depth.png", tidr.render(scene, camera, drawer, WIDTH, HEIGHT).depth.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "rgbd")
