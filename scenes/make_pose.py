"""Takes the photo that `tidr fit pose` starts from. Run: python scenes/make_pose.py [FILE]

The duck of pose.toml where it really stands (fit.truth), drawn at four times its size and averaged down.
"""

import sys
from pathlib import Path

import tidr
from tidr.files.image import write_image

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import straight

OVERSAMPLING = 4


def main(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scene = tidr.load("pose")
    for path, value in scene.fit.truth.items():
        scene.parameters(path)[path].set(value)
    width, height = scene.film.width, scene.film.height
    image = tidr.render(scene, "photo", tidr.Rasterizer(edges="none"), width * OVERSAMPLING, height * OVERSAMPLING)
    write_image(file, straight(image, OVERSAMPLING))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "pose.webp")
