"""From a scene and a `State` to the pixels of a window or a file, by kernels that leave the scene as it is."""

from pathlib import Path

import numpy as np

from tidr.array import Array, integers
from tidr.errors import SceneError, TidrError
from tidr.files.image import encode_png, linear_to_srgb
from tidr.files.write import write_bytes
from tidr.kernels import display as kernels
from tidr.parameter import Parameter
from tidr.renderers.renderer import SUITED, Image, kind_of, render
from tidr.scene.graph import Scene

from .edits import held, moved
from .orbit import camera_like
from .state import State

NUDGE = 2e-3  # of a parameter's size, either way, for the gradient image
BRIGHT = 99.0  # percentile of a gradient's size that is drawn full
SRGB_LEVELS = np.rint(255 * linear_to_srgb(np.linspace(0, 1, 1 << 14))).astype(np.int32)  # a tenth of a level fine
KINDS = {"rgb": kernels.COLOUR, "normal": kernels.SIGNED, "ids": kernels.IDS}


class Drawer:
    """Draws a scene as a `State` asks, again only where something changed.

    Nothing is recorded, and no gradient is touched. caption: what the picture's shades mean.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.caption = scene, ""
        self._camera = self._lens = None
        self._drawn: tuple | None = None

    def draw(self, state: State, pixels: np.ndarray, width: int, height: int) -> bool:
        """Fill the lower left width x height of `pixels` [W, H] (see `kernels.display`); False where nothing changed.

        What cannot be drawn leaves the picture as it was and becomes the state's message.
        """
        wanted = self._key(state, pixels, width, height)
        if wanted == self._drawn:
            return False
        self._drawn = wanted
        try:
            self._show(state, pixels, width, height)
            state.message = self._nothing(state.choice.name)
        except (TidrError, MemoryError) as error:
            state.message = str(error) or "out of memory"
            return False
        finally:
            self._drawn = self._key(state, pixels, width, height)  # a gradient image sets its parameter back
        return True

    def gradient(self, state: State, width: int, height: int) -> Array:
        """[H, W, 3] dI/dp of the chosen entry of the chosen parameter, by central differences of two renders.

        A tape gives derivatives of one number by many parameters; this one, of every pixel by one number, would take a
        backward pass for each pixel. It holds the motion of silhouettes too, whatever the treatment of edges. Renderers
        by chance repeat their numbers, so that the noise of the two renders cancels. The parameter is set back.

        Raises:
            SceneError: no parameter is chosen, or its constraint lets it not move.
        """
        parameters = self.scene.parameters()
        if state.path not in parameters:
            raise SceneError("gradient", "no parameter is chosen", "choose one in the panel, or with Tab")
        parameter = parameters[state.path]
        value = parameter.numpy()
        size = float(np.abs(value).max(initial=0.0)) or 1.0
        ends = [held(parameter, moved(value, state.row, state.entry, sign * NUDGE * size)) for sign in (1, -1)]
        apart = np.abs(ends[0].astype(np.float64) - ends[1]).max()
        if not apart:
            raise SceneError(state.path, "cannot move either way", "its constraint holds it")
        try:
            plus, minus = (self._render_at(parameter, end, state, width, height) for end in ends)
        finally:
            parameter.set(value)
        out = Array(plus.shape, needs_grad=False)
        kernels.difference(out.rows, 3, plus.value, minus.value, 1.0 / apart, out.value)
        return out

    def _render_at(self, parameter: Parameter, value: np.ndarray, state: State, width: int, height: int) -> Array:
        parameter.set(value)
        return self._render(state, "rgb", width, height).rgb

    def _render(self, state: State, channel: str, width: int, height: int) -> Image:
        if self._camera is None or self._lens is not state.orbit.lens:
            self._camera, self._lens = camera_like(state.orbit.lens), state.orbit.lens
        state.orbit.place(self._camera, width, height)
        return render(self.scene, self._camera, state.choice.made(state.treatment, channel), width, height)

    def _show(self, state: State, pixels: np.ndarray, width: int, height: int) -> None:
        columns, rows = max(width // state.detail, 1), max(height // state.detail, 1)
        self.caption, low, scale = "", 0.0, 1.0
        if state.channel == "gradient":
            values = self.gradient(state, columns, rows)
            sizes = np.abs(values.numpy())
            largest = float(np.percentile(sizes[sizes > 0], BRIGHT)) if sizes.any() else 1.0
            kind, scale = kernels.SIGNED, 1.0 / largest
            self.caption = f"grey 0, white {largest:.3g} per unit" if sizes.any() else "nowhere changes anything"
        else:
            values = self._render(state, state.channel, columns, rows).channel(state.channel)
            kind = KINDS.get(state.channel, kernels.GREY)
        if state.channel == "rgb":
            scale = 2.0**state.exposure
        elif state.channel == "depth":
            low, scale = self._depth_range(values.numpy())
        levels = integers(SRGB_LEVELS).ndarray
        kernels.show(
            kind, values.channels, state.detail > 1, values.value, rows, columns, low, scale, levels,
            width, height, pixels,
        )  # fmt: skip

    def _nothing(self, name: str) -> str:
        """What to say where the renderer draws one kind of geometry only, and the scene has none of it."""
        kinds = {kind for kind, suited in SUITED.items() if suited == name}
        held = {kind_of(node.geometry) for node in self.scene.nodes.values() if node.geometry is not None}
        if not kinds or not held or kinds & held:
            return ""
        return f"renderer: {name} draws {', '.join(sorted(kinds))}; the scene holds {', '.join(sorted(held))}"

    def _depth_range(self, depth: np.ndarray) -> tuple[float, float]:
        """(low, scale) that draw the nearest white and the farthest dark, but not black."""
        near = float(depth[depth > 0].min()) if (depth > 0).any() else 0.0
        far = float(depth.max(initial=near))
        self.caption = f"white {near:.3g}, dark {far:.3g} world units"
        span = 1.1 * (far - near) or 1.0
        return near + span, -1.0 / span

    def _key(self, state: State, pixels: np.ndarray, width: int, height: int) -> tuple:
        """Differs where the picture would."""
        versions = tuple((id(each), each.version) for each in self.scene.parameters().values())
        view = (state.orbit.key(), state.renderer, state.treatment, state.channel, state.exposure, state.detail)
        chosen = (state.path, state.row, state.entry) if state.channel == "gradient" else ()
        return (view, chosen, id(pixels), width, height, versions)


def blank(width: int, height: int) -> np.ndarray:
    """[W, H] packed pixels of a window, dark grey."""
    return np.full((width, height), 0xFF202020, np.uint32)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] levels, row 0 on top, of packed pixels [W, H]."""
    upright = np.ascontiguousarray(pixels.T[::-1])
    shifts = np.array([0, 8, 16], np.uint32)
    return (upright[..., None] >> shifts & 0xFF).astype(np.uint8)


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write packed pixels [W, H] as they are.

    Raises:
        FileError: the folder is missing or read-only, or the disk is full.
    """
    write_bytes(Path(path), encode_png(to_bytes(pixels) / 255.0, srgb=False))
