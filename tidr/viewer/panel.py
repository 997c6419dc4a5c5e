"""The panel beside the picture: buttons, sliders and what there is to say. It speaks to GGUI's widgets, or to any
object with their methods."""

import textwrap
from typing import Any

import numpy as np

from tidr.parameter import Parameters

from .curve import Curve
from .edits import Sliders
from .state import KEYS, STOPS, State

ROWS = 6  # parameters that are listed at once
COLUMNS = 42  # letters of a line
WARN = (1.0, 0.6, 0.3)
MOUSE = ("left drag: turn", "right drag: move sideways", "middle drag: nearer, further")
MOTION = ("w s a d q e: nearer, further, sideways", "arrows: turn")
SHOWN = {" ": "space"}


class Panel:
    """Draws the panel anew each frame and does what is clicked."""

    def __init__(self) -> None:
        self.sliders: Sliders | None = None

    def draw(self, gui: Any, state: State, parameters: Parameters, curve: Curve, lines: list[str]) -> None:
        """One frame of widgets; `lines` say what there is to say about picture, fit and speed."""
        self.follow(state, parameters)
        if state.help:
            self._help(gui)
            return
        for line in lines:
            gui.text(line)
        for line in textwrap.wrap(state.message, COLUMNS)[:6]:
            gui.text(line, color=WARN)
        if state.fitting:
            self._fit(gui, state, curve)
        self._picture(gui, state)
        self._list(gui, state, parameters)
        if self.sliders is not None:
            self._sliders(gui, state, self.sliders)

    def follow(self, state: State, parameters: Parameters) -> None:
        """Hold the sliders of the chosen parameter, and do what keys wished of them."""
        parameter = parameters.get(state.path)
        rows = parameter.rows if parameter is not None else 0
        state.row = state.row if state.row < rows else -1
        held = self.sliders
        if parameter is None:
            self.sliders = None
        elif held is None or (held.parameter, held.row, held.count) != (
            parameter, state.row, min(parameter.channels, held.count or 1)
        ):  # fmt: skip
            before = held.before if held is not None and held.parameter is parameter else None
            self.sliders = Sliders(parameter, state.row)
            self.sliders.before = before if before is not None else self.sliders.before
        if self.sliders is not None and "ranges" in state.wishes:
            self.sliders.centre_ranges()
        if self.sliders is not None and "undo" in state.wishes:
            self.sliders.undo()
        state.wishes -= {"ranges", "undo"}

    def _fit(self, gui: Any, state: State, curve: Curve) -> None:
        gui.text(f"step {curve.number}  loss {curve.last:.5g}  best {curve.best:.5g}")
        if gui.button("play (space)##pause" if state.paused else "pause (space)##pause"):
            state.toggle_pause()
        if gui.button("one step (n)"):
            state.one_step()

    def _picture(self, gui: Any, state: State) -> None:
        if gui.button(f"renderer: {state.choice.name} (r)##renderer"):
            state.next_renderer()
        if state.choice.treatments:
            treatment = state.choice.treatments[state.treatment]
            if gui.button(f"{state.choice.option}: {treatment} (t)##treatment"):
                state.next_treatment()
        if gui.button(f"shown: {state.channel} (v)##channel"):
            state.next_channel()
        if gui.button(f"camera: {state.camera} (c)##camera"):
            state.next_camera()
        fly = gui.checkbox("fly (f)", state.orbit.fly)
        state.orbit.fly = fly
        state.spin = gui.checkbox("spin (b)", state.spin)
        state.exposure = _slid(gui, "stops (o l)", state.exposure, -STOPS, STOPS)

    def _list(self, gui: Any, state: State, parameters: Parameters) -> None:
        listed = state.listed(parameters)
        if gui.button(f"parameters of: {state.group or 'all'} ({len(listed)}) (g)##group"):
            state.next_group(parameters)
            listed = state.listed(parameters)
        at = listed.index(state.path) if state.path in listed else 0
        first = int(np.clip(at - ROWS // 2, 0, max(len(listed) - ROWS, 0)))
        for path in listed[first : first + ROWS]:
            if gui.button(f"{'> ' if path == state.path else ''}{path[-COLUMNS:]}##{path}"):
                state.choose(path)

    def _sliders(self, gui: Any, state: State, sliders: Sliders) -> None:
        parameter = sliders.parameter
        gui.text(f"{parameter.rows} x {parameter.channels}" + (", fixed" if parameter.constraint.fixed else ""))
        if parameter.rows > 1:
            state.row = int(gui.slider_int("row, -1 all", state.row, -1, parameter.rows - 1))
        if parameter.channels > 1:
            state.entry = int(gui.slider_int("gradient of", state.entry, 0, sliders.count - 1))
        state.entry = min(state.entry, sliders.count - 1)
        if parameter.constraint.fixed:
            return
        values = [float(value) for value in sliders.values()]
        for channel, value in enumerate(values):
            label = f"[{channel}]##{parameter.path}"
            slid = _slid(gui, label, value, float(sliders.low[channel]), float(sliders.high[channel]))
            if slid != value:
                sliders.move(channel, slid)

    def _help(self, gui: Any) -> None:
        for line in (*MOUSE, *MOTION, *(f"{SHOWN.get(key, key)}: {words}" for key, (words, _) in KEYS.items())):
            gui.text(line)


def _slid(gui: Any, label: str, value: float, low: float, high: float) -> float:
    """The value of a slider; `value` itself, to the last bit, where it was not moved."""
    slid = float(gui.slider_float(label, value, low, high))
    return value if np.float32(slid) == np.float32(value) else slid
