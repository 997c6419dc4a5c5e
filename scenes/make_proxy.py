"""Makes the model and the pictures that `tidr fit proxy` starts from. Run: python scenes/make_proxy.py [FOLDER]

A painted, glossy pebble of 20,480 triangles is drawn from all around; proxy.glb is the pebble with 500 (needs
tidr[geometry]). The pebble itself is made anew wherever it is needed (`pebble`).
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image

if not __package__:  # run as a script: let the sibling imports below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .modelling import write_glb
from .picture_sets import straight, write_views

SIZE, OVERSAMPLING, FIT_VIEWS, KEPT_OUT = 64, 4, 12, 4
FACES, TEXTURE = 500, 128


def pebble() -> tidr.Mesh:
    """Icosphere of 20,480 triangles with waves long and short, and colours that follow them."""
    directions, faces = tidr.icosphere(5)
    x, y, z = directions.T
    long = 0.12 * np.sin(3 * x + 1) * np.cos(2.5 * y) + 0.08 * np.sin(4 * z - 2 * x)
    short = 0.012 * np.sin(17 * x + 3 * np.sin(5 * y)) * np.sin(15 * z)
    band = 0.5 + 0.5 * np.tanh(4 * np.sin(6 * y + 2 * np.sin(3 * x)))
    spot = 0.5 + 0.5 * np.tanh(6 * (np.sin(7 * x) * np.sin(7 * y) * np.sin(7 * z) - 0.25))
    colors = np.outer(band, (0.75, 0.25, 0.1)) + np.outer(1 - band, (0.1, 0.3, 0.5)) + np.outer(spot, (0.2, 0.4, 0.2))
    return tidr.Mesh((0.85 + long + short)[:, None] * directions, faces, colors=np.clip(colors, 0, 1))


def original() -> tidr.Scene:
    """The scene of proxy.toml with the pebble in place of its proxy."""
    scene = tidr.load("proxy")
    scene.materials["paint"] = tidr.Material("metallic_roughness", albedo="vertex_colors", roughness=0.35)
    scene.nodes["pebble"] = tidr.Node(pebble(), ("paint",))
    return scene


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    low = tidr.unwrap(tidr.simplify(pebble(), FACES), TEXTURE)
    write_glb(folder / "proxy.glb", low.vertices.numpy(), low.faces, low.uvs.numpy(), low.uv_faces)
    grey = np.full((TEXTURE, TEXTURE, 3), 0.25, np.float32)
    write_image(folder / "grey.webp", grey)
    scene, large = original(), SIZE * OVERSAMPLING

    def draw(camera: tidr.Camera) -> np.ndarray:
        return straight(tidr.render(scene, camera, tidr.Rasterizer(edges="none"), large, large), OVERSAMPLING)

    write_views(folder, draw, SIZE, FIT_VIEWS, KEPT_OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "proxy")
