"""Makes every model in scenes/assets: the duck, the cube, the Cornell box and the bracket.

Run `python scenes/make_models.py [FOLDER]` (numpy and pillow are enough); the default folder is scenes/assets.
The output is the same on every machine. All models have Y up and counter-clockwise faces seen from outside; the
pieces of the Cornell box face into the room.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

if not __package__:  # run as a script: let the sibling imports below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .duck import MARGIN, duck
from .modelling import centred, turned, write_glb, write_obj


def box(low, high) -> tuple[np.ndarray, np.ndarray]:
    """Corners [8, 3] and quads int [6, 4] of a box, in the order -x +x -y +y -z +z."""
    corners = np.array([[x, y, z] for z in (low[2], high[2]) for y in (low[1], high[1]) for x in (low[0], high[0])])
    quads = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]]
    return corners.astype(float), np.array(quads)


def split_quads(quads: np.ndarray) -> np.ndarray:
    """Two triangles a quad, int [2Q, 3]."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def make_duck(folder: Path) -> None:
    grid, points, texture = duck()
    uvs = grid.texture_coordinates(MARGIN)
    write_glb(folder / "duck.glb", points, grid.faces, uvs, grid.corners, texture="duck.png")
    colours = Image.fromarray(texture).quantize(96, Image.Quantize.MAXCOVERAGE, 96, dither=Image.Dither.NONE)
    colours.save(folder / "duck.png", optimize=True)


def make_cube(folder: Path) -> None:
    """A cube of edge 1: 8 welded vertices, 12 triangles, one chart a face in a 3 x 2 atlas."""
    corners, quads = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    margin = 0.02
    charts = [
        [column / 3 + u, row / 2 + v]
        for row in (1, 0)
        for column in (0, 1, 2)
        for u, v in (
            (margin, margin),
            (1 / 3 - margin, margin),
            (1 / 3 - margin, 1 / 2 - margin),
            (margin, 1 / 2 - margin),
        )
    ]
    write_obj(folder / "cube.obj", corners, split_quads(quads), charts, split_quads(np.arange(24).reshape(6, 4)))


def make_cornell(folder: Path) -> None:
    """The room [-1, 1]^3 open towards +Z, as eight files; corners are not shared between sides, so that they are sharp.

    left is meant red, right green, light the panel just under the ceiling that shines down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    corners, quads = box((-1, -1, -1), (1, 1, 1))
    sides = {"left": 0, "right": 1, "floor": 2, "ceiling": 3, "back": 4}
    pieces = {name: corners[quads[side][::-1]] for name, side in sides.items()}
    pieces["light"] = pieces["ceiling"] * [0.25, 1, 0.25] - [0, 0.005, 0]
    for name, half, height, half_tangent, place in (
        ("tall_box", 0.3, 1.2, 0.15, (-0.35, -1, -0.3)),
        ("short_box", 0.3, 0.6, -0.15, (0.35, -1, 0.3)),
    ):
        block, block_quads = box((-half, 0, -half), (half, height, half))
        pieces[name] = (turned(block, 1, half_tangent) + place)[block_quads].reshape(-1, 3)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    for name, vertices in pieces.items():
        faces = split_quads(np.arange(len(vertices)).reshape(-1, 4))
        write_obj(folder / f"{name}.obj", vertices, faces, np.tile(square, (len(vertices) // 4, 1)), faces)


def make_bracket(folder: Path) -> None:
    """A solid that looks different from every side: an L with a side arm, a bevelled top and a stub below.

    It is cut from a lattice of cells of unequal width, whose outer faces are kept and welded.
    """
    ticks = [np.array(t) for t in ([0, 0.3, 0.65, 1.1], [-0.25, 0, 0.3, 0.7, 1.15, 1.6], [0, 0.28, 0.5, 0.75, 1.0])]
    solid = np.zeros((3, 5, 4), bool)
    solid[0, 1:5, 0:2] = True  # upright
    solid[:, 1, 0:2] = True  # foot along +x
    solid[0, 3, :] = True  # arm along +z
    solid[2, 0, 0] = True  # stub under the foot's end
    faces, used = [], {}
    _, quads = box((0, 0, 0), (1, 1, 1))
    for cell in np.argwhere(solid):
        for side in range(6):
            beyond = cell.copy()
            beyond[side // 2] += 2 * (side % 2) - 1
            if np.all((beyond >= 0) & (beyond < solid.shape)) and solid[tuple(beyond)]:
                continue
            corners = [tuple(int(c) for c in cell + np.array([k & 1, k >> 1 & 1, k >> 2])) for k in quads[side]]
            faces.append([used.setdefault(corner, len(used)) for corner in corners])
    vertices = np.array([[ticks[axis][corner[axis]] for axis in range(3)] for corner in used])
    top = vertices[:, 1] == 1.6
    vertices[top, 1] -= 0.35 * vertices[top, 0] / 0.3 + 0.1 * vertices[top, 2]  # bevel
    write_obj(folder / "bracket.obj", centred(vertices, 0.95), split_quads(np.array(faces)))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    make_duck(folder)
    make_cube(folder)
    make_cornell(folder / "cornell")
    make_bracket(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "assets")
