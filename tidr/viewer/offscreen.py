"""The viewer without a window: the pictures that it would show, as files."""

from pathlib import Path

import numpy as np

from tidr.errors import FileError, SceneError
from tidr.scene.graph import Scene

from .drawing import Drawer, blank, write_png
from .state import CHANNELS, State


def write_frames(
    scene: Scene,
    state: State,
    folder: str | Path,
    width: int,
    height: int,
    frames: int = 36,
    every_camera: bool = False,
) -> list[Path]:
    """Write what the viewer shows: a turn around the scene in `frames` pictures, or one from `every_camera`.

    The first of a turn is the camera's own view. Files are frame_000.png and so on, or <camera>.png. No Vulkan and no
    screen is needed.

    Raises:
        SceneError: what the state asks for cannot be drawn.
        FileError: the folder cannot be made or written.
    """
    folder, drawer, pixels = Path(folder), Drawer(scene), blank(width, height)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(folder, f"cannot be made: {error.strerror}", "give another folder") from error
    if state.channel not in CHANNELS:
        raise SceneError("channel", f"is {state.channel!r}", f"choose one of {', '.join(CHANNELS)}")
    written = []
    for number, name in enumerate(state.cameras if every_camera else range(frames)):
        if every_camera:
            state.look(str(name))
        elif number:
            state.orbit.turn(2 * np.pi / frames, 0.0)
        drawer.draw(state, pixels, width, height)
        if state.message:
            where, _, what = state.message.partition(": ")
            raise SceneError(where, what)
        written.append(folder / (f"{name}.png" if every_camera else f"frame_{number:03d}.png"))
        write_png(written[-1], pixels)
    return written
