"""tidr render: a picture of a scene."""

from pathlib import Path
from typing import Annotated

import typer


def render(
    scene: Annotated[
        str, typer.Argument(help="Bundled name, .toml, .xml, .glb, mesh file, transforms.json or its folder.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture: .png, .jpg, .exr, .pfm or .npy.")],
    camera: Annotated[str | None, typer.Option(help="Name of a camera; the first by default.")] = None,
    width: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the camera's own by default.")] = None,
    height: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the camera's own by default.")] = None,
    renderer: Annotated[str, typer.Option(help="Short name of a renderer; auto takes what suits the scene.")] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A field of the renderer, as samples=64; again for more."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a scene key.")] = None,
) -> None:
    """Render one picture of a scene."""
    from tidr.errors import FileError
    from tidr.files.image import SUFFIXES
    from tidr.files.scene_file import load_scene
    from tidr.files.scene_fit import read_renderer
    from tidr.renderers.renderer import render as draw

    if output.suffix.lower() not in SUFFIXES:
        what = f"unknown kind of picture {output.suffix!r}"
        raise FileError(output, what, "use one of " + " ".join(SUFFIXES))
    loaded = load_scene(scene, set_ or ())
    if (width is None) != (height is None):
        seen = loaded.cameras.get(camera or "") or next(iter(loaded.cameras.values()), None)
        if seen is not None:  # keep the shape of the picture
            scale = width / seen.width if width else (height or seen.height) / seen.height
            width, height = (max(round(side * scale), 1) for side in (seen.width, seen.height))
    drawer = read_renderer(renderer, option or (), loaded)
    draw(loaded, camera, drawer, width, height).save(output)
