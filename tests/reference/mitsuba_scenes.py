"""Three scenes as plain numbers, for two renderers: Mitsuba 3 (make_mitsuba_blocks.py) and tidr (its tests).

World space is right-handed with +Y up. Faces are counter-clockwise seen from outside; lamps shine on that side.
"""

from dataclasses import dataclass

import numpy as np

SIZE, BLOCK = 48, 8  # pixels of a picture's side, and of a block of it


@dataclass(frozen=True)
class Shape:
    """Flat triangles [F, 3] over corners [V, 3] of one material; `emission` [3] makes a lamp of them."""

    corners: np.ndarray
    faces: np.ndarray
    material: str
    emission: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Stage:
    """A camera's position, target and angle (degrees, of both sides), materials and shapes.

    A material is ("diffuse", albedo [3]), ("glass", index of refraction) or ("mirror", eta [3], k [3]).
    """

    camera: tuple[tuple[float, float, float], tuple[float, float, float], float]
    materials: dict[str, tuple]
    shapes: dict[str, Shape]


def turn(axis: int, degrees: float) -> np.ndarray:
    """[3, 3] rotation about a coordinate axis, by the right-hand rule."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    made, one, other = np.eye(3), (axis + 1) % 3, (axis + 2) % 3
    made[[one, one, other, other], [one, other, one, other]] = cosine, -sine, sine, cosine
    return made


def square(at, rotation, scale, material: str, emission=None) -> Shape:
    """The square from -1 to 1 in x and y, which faces +z; scaled, turned, then moved."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * scale @ rotation.T + at
    return Shape(corners, np.array([[0, 1, 2], [0, 2, 3]]), material, emission)


def cube(at, rotation, scale, material: str) -> Shape:
    """The cube from -1 to 1; scaled, turned, then moved."""
    corners, faces = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (sign, 1.0)
            face = np.full((4, 3), sign)
            face[:, [(axis + 1) % 3, (axis + 2) % 3]] = side
            faces += [
                [len(corners), len(corners) + 1, len(corners) + 2],
                [len(corners), len(corners) + 2, len(corners) + 3],
            ]
            corners += list(face)
    return Shape(np.array(corners) * scale @ rotation.T + at, np.array(faces), material)


def globe(at, radius: float, material: str, rings=16) -> Shape:
    """A sphere's points at equal steps of latitude and longitude."""
    sectors = 2 * rings
    low, around = np.pi * np.arange(1, rings) / rings, 2 * np.pi * np.arange(sectors) / sectors
    belt = np.stack(
        [
            np.outer(np.sin(low), np.sin(around)),
            np.outer(np.cos(low), np.ones(sectors)),
            np.outer(np.sin(low), np.cos(around)),
        ],
        -1,
    )
    corners = np.concatenate([[[0, 1, 0]], belt.reshape(-1, 3), [[0, -1, 0]]])
    faces, last = [], len(corners) - 1
    for k in range(sectors):
        after = (k + 1) % sectors
        faces += [[0, 1 + k, 1 + after], [last, last - sectors + after, last - sectors + k]]
        for ring in range(rings - 2):
            a, b = 1 + ring * sectors + k, 1 + ring * sectors + after
            faces += [[a, a + sectors, b + sectors], [a, b + sectors, b]]
    return Shape(corners * radius + at, np.array(faces), material)


def cornell() -> Stage:
    """The box as Mitsuba 3's `cornell_box` tells it."""
    still = np.eye(3)
    materials = {
        "white": ("diffuse", (0.885809, 0.698859, 0.666422)), "green": ("diffuse", (0.105421, 0.37798, 0.076425)),
        "red": ("diffuse", (0.570068, 0.0430135, 0.0443706)),
    }  # fmt: skip
    light = (18.387, 13.9873, 6.75357)
    shapes = {
        "light": square((0, 0.99, 0.01), turn(0, 90), (0.23, 0.19, 0.19), "white", light),
        "floor": square((0, -1, 0), turn(0, -90), 1, "white"),
        "ceiling": square((0, 1, 0), turn(0, 90), 1, "white"),
        "back": square((0, 0, -1), still, 1, "white"),
        "right": square((1, 0, 0), turn(1, -90), 1, "green"),
        "left": square((-1, 0, 0), turn(1, 90), 1, "red"),
        "small": cube((0.335, -0.7, 0.38), turn(1, -17), 0.3, "white"),
        "large": cube((-0.33, -0.4, -0.28), turn(1, 18.25), (0.3, 0.61, 0.3), "white"),
    }
    return Stage(((0, 0, 3.9), (0, 0, 0), 39.3077), materials, shapes)


def caustic() -> Stage:
    """A glass ball over a floor before a wall, under a lamp: its light on the floor, also seen through the glass."""
    materials = {"floor": ("diffuse", (0.7, 0.65, 0.6)), "wall": ("diffuse", (0.6, 0.3, 0.2)), "glass": ("glass", 1.5)}
    shapes = {
        "floor": square((0, 0, 0), turn(0, -90), 1.5, "floor"),
        "wall": square((0, 1, -1.2), np.eye(3), (1.5, 1, 1), "wall"),
        "ball": globe((0.1, 0.6, 0), 0.5, "glass"),
        "lamp": square((0.4, 2.4, 0.3), turn(0, 90), 0.8, "floor", (3.0, 2.8, 2.5)),
    }
    return Stage(((0.0, 1.5, 2.9), (0.0, 0.45, 0.0), 40), materials, shapes)


def mirrored() -> Stage:
    """The same beside a mirror of metal, in which most of it is seen."""
    plain = caustic()
    materials = plain.materials | {"metal": ("mirror", (0.2, 0.92, 1.1), (3.91, 2.45, 2.14))}
    shapes = plain.shapes | {"mirror": square((-1.2, 1, 0), turn(1, 90), (1.2, 1, 1), "metal")}
    return Stage(((1.3, 1.4, 1.6), (-1.2, 0.5, 0.0), 40), materials, shapes)


STAGES = {"cornell": cornell, "caustic": caustic, "mirrored": mirrored}
