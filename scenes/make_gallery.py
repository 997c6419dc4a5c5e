"""Draws README's gallery: bundled scenes as `tidr render` shows them. Run: python scenes/make_gallery.py [FILE]"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

SIZE, ACROSS = 112, 6
PATHS = ("--renderer", "path", "--option", "samples=256")
PHOTONS = ("photons=400000", "passes=4", "radius=0.03", "aimed=0.6", "max_depth=8")
SHOWN: dict[str, tuple[str, ...]] = {  # scene: options of the command, which say how finely to draw
    "duck": (),
    "mixed": (),
    "cornell": PATHS,
    "shadow_light": PATHS,
    "glass_ior": ("--renderer", "photons", *(word for one in PHOTONS for word in ("--option", one))),
    "fog": PATHS,
    "smoke": (),
    "sky": (),
    "sky_map": (),
    "bracket": (),
    "cube": (),
    "proxy": (),
}


def tile(name: str, options: tuple[str, ...], folder: Path) -> Image.Image:
    """One scene, drawn by the command."""
    file = folder / f"{name}.png"
    command = [sys.executable, "-m", "tidr.cli", "render", name, "-o", str(file)]
    subprocess.run([*command, "--width", str(SIZE), "--height", str(SIZE), *options], check=True)
    return Image.open(file).convert("RGB")


def main(file: Path) -> None:
    sheet = Image.new("RGB", (ACROSS * SIZE, -(-len(SHOWN) // ACROSS) * SIZE), "white")
    with tempfile.TemporaryDirectory() as folder:
        for place, (name, options) in enumerate(SHOWN.items()):
            row, column = divmod(place, ACROSS)
            sheet.paste(tile(name, options, Path(folder)), (column * SIZE, row * SIZE))
    sheet.save(file, quality=80, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "gallery.webp")
