"""The viewer's window: GGUI shows the pixels and the panel, and hears keys and mouse."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tidr import runtime
from tidr.errors import BackendError, TidrError
from tidr.scene.graph import Scene

from .curve import Curve
from .drawing import Drawer, blank, write_png
from .panel import Panel
from .state import MOVES, State

PANEL_PIXELS, LEAST_HEIGHT = 320, 512
CURVE_SHARE = 0.2  # of the panel's height, under it, while a fit runs
HOLD_PER_SECOND = 12.0  # presses that a held key counts for
TURN_PER_HEIGHT = np.pi  # radians that dragging over the picture's height turns
IDLE_SECONDS = 1 / 60  # a frame takes at least this long where nothing moves
ELSEWHERE = "`tidr view SCENE --offscreen -o FOLDER` writes pictures instead"


class Window:
    """A window that shows a scene as its `state` says.

    Args:
        shown: False opens no window on a screen: GGUI draws into its own memory, no one is heard (see `image`).

    Raises:
        BackendError: no Vulkan driver, or no screen to open a window on.
    """

    def __init__(
        self, scene: Scene, state: State, width: int, height: int, title: str = "tidr", shown: bool = True
    ) -> None:
        refuse_without_window(shown)
        ti = runtime.taichi()
        runtime.current()
        self.scene, self.state, self.title, self.shown = scene, state, title, shown
        self.drawer, self.panel, self.curve = Drawer(scene), Panel(), Curve()
        self.note = ""
        state.begin_detail()
        self._ui: Any = ti.ui
        size = (width + PANEL_PIXELS, max(height, LEAST_HEIGHT) if shown else height)
        try:
            self._window: Any = ti.ui.Window(title, size, show_window=shown)
        except RuntimeError as error:
            raise BackendError("view", f"the window did not open: {error}", ELSEWHERE) from error
        self._canvas, self._gui = self._window.get_canvas(), self._window.get_gui()
        self._pixels, self._kept = blank(1, 1), np.zeros((*size, 4))
        self._dragged: tuple[str, float, float] | None = None
        self._then = time.perf_counter()
        self.seconds_a_frame = 0.0

    @property
    def open(self) -> bool:
        return self._window is not None

    def frame(self) -> bool:
        """Hear, draw and show one frame; whether the picture was drawn anew. Closes when asked to."""
        began = time.perf_counter()
        passed, self._then = began - self._then, began
        self.hear(min(passed, 0.25))
        if not self.open:
            return False
        width, height = self._sized()
        drawn = self.drawer.draw(self.state, self._pixels, width, height)
        self._wishes(width, height)
        if self.state.fitting and self.state.panel:
            self.curve.draw(self._pixels[width:, : int(CURVE_SHARE * height)])
        self._present(width)
        self.seconds_a_frame += 0.1 * (passed - self.seconds_a_frame)
        return drawn

    def hear(self, passed: float) -> None:
        """Do what keys and mouse ask, `passed` seconds after the last time."""
        if self.shown:
            paths = self.scene.parameters()
            for event in self._window.get_events(self._ui.PRESS):
                if event.key in ("LMB", "MMB", "RMB"):
                    self._grab(event.key)
                else:
                    self.state.press(event.key, paths)
            for key in MOVES:
                if self._window.is_pressed(key):
                    self.state.move(key, HOLD_PER_SECOND * passed)
            self._drag()
        self.state.advance(passed)
        if self.state.closed or not self._window.running:
            self.close()

    def close(self) -> None:
        """Take the window away."""
        if self._window is not None:
            self._window.destroy()
            self._window = None
        self.state.closed = True

    def run(self, each_frame: Callable[[Window, bool], None] | None = None) -> None:
        """Go on until the window is closed; rests where nothing moves."""
        while self.open:
            began = time.perf_counter()
            drawn = self.frame()
            if each_frame is not None:
                each_frame(self, drawn)
            if not drawn:
                time.sleep(max(IDLE_SECONDS - (time.perf_counter() - began), 0.0))

    def image(self) -> np.ndarray:
        """[H, W, 3] levels of the last frame as GGUI drew it, panel and all (without a screen only)."""
        levels = self._kept[..., :3].swapaxes(0, 1)[::-1]
        return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)

    def _sized(self) -> tuple[int, int]:
        """Pixels of the picture, in a window that may have changed its size."""
        shape = tuple(max(side, 1) for side in self._window.get_window_shape())
        if self._pixels.shape != shape:
            self._pixels = blank(*shape)
        return max(shape[0] - (PANEL_PIXELS if self.state.panel else 0), 1), shape[1]

    def _wishes(self, width: int, height: int) -> None:
        if "picture" in self.state.wishes:
            self.state.wishes.discard("picture")
            path = next(path for path in _numbered(self.title) if not path.exists())
            try:
                write_png(path, self._pixels[:width, :height])
                self.note = f"wrote {path}"
            except TidrError as error:
                self.note = str(error)

    def _present(self, width: int) -> None:
        # GGUI takes packed pixels as they are; its public door would convert them once more, and keep a copy of every
        # size that the window ever had.
        from taichi.ui.utils import get_field_info

        self._canvas.canvas.set_image(get_field_info(self._pixels))
        if self.state.panel:
            across, high = self._pixels.shape
            left, share = width / across, 1.0 - (CURVE_SHARE if self.state.fitting else 0.0)
            # A panel keeps the place that it had first, so one of each size.
            with self._gui.sub_window(f"tidr##{across}x{high}", left, 0.0, 1.0 - left, share) as gui:
                self.panel.draw(gui, self.state, self.scene.parameters(), self.curve, self._lines())
        else:
            self.panel.follow(self.state, self.scene.parameters())
        if self.shown:
            self._window.show()
        else:
            self._kept = self._window.get_image_buffer_as_numpy()  # ends the frame; show() would end the process

    def _lines(self) -> list[str]:
        rate = f"{1 / self.seconds_a_frame:.0f} frames/s" if self.seconds_a_frame > 0 else ""
        lines = [f"{rate}   k: keys", self.drawer.caption, self.note[-60:]]
        return [line for line in lines if line]

    def _grab(self, button: str) -> None:
        """A drag begins, unless it is the panel that was clicked."""
        x, y = self._window.get_cursor_pos()
        across, _ = self._pixels.shape
        if not self.state.panel or x * across < across - PANEL_PIXELS:
            self._dragged = (button, x, y)

    def _drag(self) -> None:
        if self._dragged is None:
            return
        button, x, y = self._dragged
        if not self._window.is_pressed(button):
            self._dragged = None
            return
        now = self._window.get_cursor_pos()
        across, high = self._pixels.shape
        right, up = (now[0] - x) * across / high, now[1] - y
        self._dragged = (button, *now)
        if button == "LMB":
            self.state.orbit.turn(TURN_PER_HEIGHT * right, TURN_PER_HEIGHT * up)
        elif button == "RMB":
            self.state.orbit.pan(right, up)
        else:
            self.state.orbit.zoom(float(np.exp(2 * up)))


def refuse_without_window(shown: bool = True) -> None:
    """Say why no window can open here, before anything that would end the process is tried.

    Raises:
        BackendError: no Vulkan driver, or no screen.
    """
    if not runtime.vulkan_devices():
        what = "the window needs a Vulkan driver, and this machine has none"
        raise BackendError("view", what, f"install one (Debian: mesa-vulkan-drivers libvulkan1); {ELSEWHERE}")
    if shown and not has_screen():
        raise BackendError("view", "there is no screen to open a window on", f"set DISPLAY; {ELSEWHERE}")


def has_screen() -> bool:
    """Whether a window can open; on Linux an X server (or Xwayland) has to answer."""
    if not sys.platform.startswith("linux"):
        return True
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    return bool(x11.XOpenDisplay(None))  # stays open: a server whose last client leaves starts anew, deaf for a moment


def _numbered(title: str):
    """Names for pictures: of the scene, then a number."""
    name = "".join(letter if letter.isalnum() else "_" for letter in title.removeprefix("tidr "))
    number = 0
    while True:
        yield Path(f"{name}_{number:03d}.png")
        number += 1
