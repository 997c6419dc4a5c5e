"""tidr view: a scene in a window, or its pictures in a folder."""

from pathlib import Path
from typing import Annotated

import typer


def view(
    scene: Annotated[
        str, typer.Argument(help="Bundled name, .toml, .xml, .glb, mesh file, transforms.json or its folder.")
    ],
    offscreen: Annotated[bool, typer.Option("--offscreen", help="No window: write pictures to the folder -o.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the pictures.")] = None,
    frames: Annotated[int, typer.Option(min=1, max=100_000, help="Pictures of a turn around the scene.")] = 36,
    every_camera: Annotated[bool, typer.Option("--cameras", help="A picture from each camera instead.")] = False,
    camera: Annotated[str, typer.Option(help="Name of a camera to begin from; the first by default.")] = "",
    renderer: Annotated[str, typer.Option(help="Short name of a renderer; what suits the scene by default.")] = "",
    treatment: Annotated[str, typer.Option(help="How it treats edges, as antialias.")] = "",
    channel: Annotated[str, typer.Option(help="rgb, depth, normal, alpha, ids or gradient.")] = "rgb",
    parameter: Annotated[str, typer.Option(help="Which parameter's gradient image is shown.")] = "",
    width: Annotated[int | None, typer.Option(min=1, max=16384, help="Pixels; the camera's own by default.")] = None,
    height: Annotated[int | None, typer.Option(min=1, max=16384, help="Pixels; the camera's own by default.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a scene key.")] = None,
) -> None:
    """Look at a scene in a window, and change it there; or write what the window would show."""
    from tidr.errors import SceneError
    from tidr.files.scene_file import load_scene
    from tidr.viewer.offscreen import write_frames
    from tidr.viewer.state import CHANNELS, State
    from tidr.viewer.window import Window, refuse_without_window

    if offscreen != (output is not None):
        raise SceneError("view", "--offscreen and -o FOLDER belong together", "give both or neither")
    if not offscreen:
        refuse_without_window()
    loaded = load_scene(scene, set_ or ())
    state = State.of(loaded, renderer, camera, loaded.fit.renderer if loaded.fit is not None else None)
    if channel not in CHANNELS:
        raise SceneError("--channel", f"is {channel!r}", f"choose one of {', '.join(CHANNELS)}")
    state.channel, state.path = channel, parameter and next(iter(loaded.parameters(parameter)))
    if treatment:
        state.treat(treatment)
    seen = state.cameras[state.camera]
    scale = width / seen.width if width else (height or seen.height) / seen.height
    size = (width or max(round(seen.width * scale), 1), height or max(round(seen.height * scale), 1))
    if output is not None:
        written = write_frames(loaded, state, output, *size, frames, every_camera)
        typer.echo(f"{len(written)} pictures in {output}")
    else:
        Window(loaded, state, *size, f"tidr {Path(scene).stem}").run()
