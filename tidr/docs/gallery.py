"""The gallery: every bundled scene, drawn small."""

import tempfile
from pathlib import Path

import tidr
from tidr.files.scene_file import bundled, describe

from .text import escaped

LONGEST = 192  # pixels


def gallery_page() -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures by file name; a scene that begins from nothing has no picture."""
    parts, pictures = ["# Gallery", "The bundled scenes as they are before they are fitted."], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in bundled().items():
            parts.append(f"## {name}\n\n{escaped(describe(path))}\n\n`tidr fit {name}`")
            scene = tidr.load(name)
            if not scene.cameras:
                continue
            seen = next(iter(scene.cameras.values()))
            scale = LONGEST / max(seen.width, seen.height)
            size = (max(round(side * scale), 1) for side in (seen.width, seen.height))
            file = Path(folder) / f"{name}.png"
            tidr.render(scene, None, "auto", *size).save(file)
            pictures[file.name] = file.read_bytes()
            parts.append(f"![{name}]({file.name})")
    return "\n\n".join([*parts, "[Contents](index.md)"]) + "\n", pictures
