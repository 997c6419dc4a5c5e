"""A scene as one HTML file that any browser shows offline: meshes and points to turn, move and look at."""

import base64
import html
import json
from pathlib import Path

import numpy as np

from tidr.errors import SceneError
from tidr.scene.graph import Scene
from tidr.scene.outline import outlines

from .srgb import linear_to_srgb
from .write import write_bytes

GREY = 0.5
TEMPLATE = Path(__file__).with_name("show.html")


def write_html(scene: Scene, path: str | Path) -> int:
    """Write meshes, point clouds and the centres of Gaussians, in plain vertex colours; gives their number.

    The file asks for nothing else: no network, no other file. It needs a browser with WebGL 2. Textures show their mean
    colour, and lights do not count.

    Raises:
        SceneError: the scene holds nothing of the kind; FileError: the file cannot be written.
    """
    shapes = []
    for outline in outlines(scene):
        colors = np.full(outline.positions.shape, GREY) if outline.colors is None else outline.colors
        shapes.append(
            {
                "name": outline.name,
                "positions": _text(outline.positions, "<f4"),
                "colors": _text(np.rint(linear_to_srgb(colors) * 255), "u1"),
                "faces": _text(outline.faces, "<u4"),
            }
        )
    if not shapes:
        raise SceneError(
            "nodes", "hold no mesh, points or Gaussians", "make a mesh of a grid with tidr.extract.mesh_of"
        )
    data = json.dumps(shapes).replace("<", "\\u003c")  # so that no name ends the script
    page = TEMPLATE.read_text().replace("TITLE", html.escape(Path(path).stem), 1).replace("SHAPES", data, 1)
    write_bytes(Path(path), page.encode())
    return len(shapes)


def _text(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()
