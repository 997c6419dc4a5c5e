"""Everything that a user of the viewer can change, and the keys that change it. No window, no device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import nearest
from tidr.renderers.renderer import FOLLOW_LIGHT
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .orbit import Orbit, cameras_of, extent
from .renderers import Choice, choices

CHANNELS = ("rgb", "depth", "normal", "alpha", "ids", "gradient")
DETAILS = (1, 2, 4)  # a pixel drawn stands for so many across
STOPS = 8.0  # exposure goes so far either way
TURN, STEP = np.radians(4.0), 0.04  # of one press of a key
SPIN = np.radians(40.0)  # a second


@dataclass
class State:
    """What is shown, and how.

    renderer, treatment: numbers in `renderers` and in that one's treatments. path, entry: the chosen parameter and what
    of it moves: (row or -1 for all rows together, channel). group: parameters of this owner are listed, "" lists all.
    steps: how many more steps a paused fit may take. wishes: what the window has to do once.
    """

    cameras: dict[str, Camera]
    renderers: list[Choice]
    centre: np.ndarray
    radius: float
    orbit: Orbit
    camera: str
    renderer: int = 0
    treatment: int = 0
    channel: str = "rgb"
    exposure: float = 0.0
    detail: int = 1
    group: str = ""
    path: str = ""
    row: int = -1
    entry: int = 0
    spin: bool = False
    panel: bool = True
    help: bool = False
    fitting: bool = False
    paused: bool = False
    steps: int = 0
    closed: bool = False
    wishes: set[str] = field(default_factory=set)
    message: str = ""

    @classmethod
    def of(cls, scene: Scene, renderer: str = "", camera: str = "", options: Mapping[str, object] | None = None):
        """The state that shows a scene from its first camera (or `camera`) by what suits it (or `renderer`).

        options: the table of a renderer, such as [fit] has, that comes first.

        Raises:
            SceneError: no such renderer or camera.
        """
        cameras, known = cameras_of(scene), choices(scene, renderer, options)
        if camera and camera not in cameras:
            raise SceneError(f"cameras.{camera}", "no such camera", nearest(camera, cameras))
        name, (centre, radius) = camera or next(iter(cameras)), extent(scene)
        state = cls(cameras, known, centre, radius, Orbit(cameras[name], centre, radius), name)
        state.treatment = known[0].begun
        return state

    @property
    def choice(self) -> Choice:
        return self.renderers[self.renderer]

    def look(self, name: str) -> None:
        """Stand where the named camera stands."""
        fly = self.orbit.fly
        self.camera, self.orbit = name, Orbit(self.cameras[name], self.centre, self.radius)
        self.orbit.fly = fly

    def next_camera(self) -> None:
        self.look(_after(list(self.cameras), self.camera))

    def next_renderer(self) -> None:
        self.renderer = (self.renderer + 1) % len(self.renderers)
        self.treatment, self.message = self.choice.begun, ""
        self.begin_detail()

    def next_treatment(self) -> None:
        self.treatment = (self.treatment + 1) % max(len(self.choice.treatments), 1)
        self.message = ""

    def treat(self, name: str) -> None:
        """Take the renderer's treatment of that name.

        Raises:
            SceneError: it has none such.
        """
        if name not in self.choice.treatments:
            raise SceneError("treatment", f"{self.choice.name} has no {name!r}", nearest(name, self.choice.treatments))
        self.treatment = self.choice.treatments.index(name)

    def next_channel(self) -> None:
        self.channel, self.message = _after(CHANNELS, self.channel), ""

    def begin_detail(self) -> None:
        """Coarse pixels where light is followed, so that a view answers; `next_detail` brings the fine ones."""
        self.detail = DETAILS[-1] if self.choice.name in FOLLOW_LIGHT else DETAILS[0]

    def next_detail(self) -> None:
        self.detail = DETAILS[(DETAILS.index(self.detail) + 1) % len(DETAILS)]

    def expose(self, stops: float) -> None:
        self.exposure = float(np.clip(self.exposure + stops, -STOPS, STOPS))

    def listed(self, paths) -> list[str]:
        """The parameters of the chosen group, of all that there are."""
        return [path for path in paths if not self.group or path.startswith(self.group + ".")]

    def next_group(self, paths) -> None:
        """List the parameters of the next owner; after the last those of all."""
        self.group = _after(["", *dict.fromkeys(path.partition(".")[0] for path in paths)], self.group)
        if self.path not in self.listed(paths):
            self.choose(next(iter(self.listed(paths)), ""))

    def choose(self, path: str) -> None:
        if path != self.path:
            self.path, self.row, self.entry = path, -1, 0

    def move_choice(self, paths, by: int) -> None:
        """Choose the next of the listed parameters, or the one before."""
        listed = self.listed(paths)
        if listed:
            at = listed.index(self.path) + by if self.path in listed else 0
            self.choose(listed[at % len(listed)])

    def toggle_pause(self) -> None:
        self.paused, self.steps = self.fitting and not self.paused, 0

    def one_step(self) -> None:
        """Let the fit take one step, then wait."""
        if self.fitting:
            self.steps, self.paused = (self.steps + 1 if self.paused else 1), True

    def takes_step(self) -> bool:
        """Whether the fit goes on; one of the steps allowed to it is used up."""
        if self.paused and self.steps:
            self.steps -= 1
            return True
        return not self.paused

    def toggle(self, name: str) -> None:
        setattr(self, name, not getattr(self, name))

    def advance(self, seconds: float) -> None:
        """Time passes."""
        if self.spin:
            self.orbit.turn(SPIN * seconds, 0.0)

    def press(self, key: str, paths) -> bool:
        """Do what a key stands for; `paths` are those of the scene's parameters. False where it stands for nothing."""
        if key in MOVES:
            self.move(key, 1.0)
        elif key in KEYS:
            KEYS[key][1](self, paths)
        return key in MOVES or key in KEYS

    def move(self, key: str, amount: float) -> None:
        """Move the camera as a key says, `amount` times what one press does."""
        right, up, ahead = (amount * part for part in MOVES[key])
        if key in ARROWS:
            turned = TURN if self.orbit.fly else -TURN  # the head, or the camera around the pivot
            self.orbit.turn(turned * right, turned * up)
        elif self.orbit.fly:
            self.orbit.walk(STEP * right, STEP * up, STEP * ahead)
        else:
            self.orbit.pan(-STEP * right, -STEP * up)
            self.orbit.zoom((1 + STEP) ** ahead)


ARROWS = ("Left", "Right", "Up", "Down")
# Right, up, ahead.
MOVES = {"w": (0, 0, 1), "s": (0, 0, -1), "a": (-1, 0, 0), "d": (1, 0, 0), "e": (0, 1, 0), "q": (0, -1, 0)}
MOVES |= {"Left": (-1, 0, 0), "Right": (1, 0, 0), "Up": (0, 1, 0), "Down": (0, -1, 0)}
KEYS: dict[str, tuple[str, Callable[[State, object], None]]] = {
    "r": ("next renderer", lambda state, paths: state.next_renderer()),
    "t": ("next treatment of edges", lambda state, paths: state.next_treatment()),
    "v": ("next channel", lambda state, paths: state.next_channel()),
    "c": ("next camera", lambda state, paths: state.next_camera()),
    "h": ("back to the camera", lambda state, paths: state.look(state.camera)),
    "f": ("orbit or fly", lambda state, paths: setattr(state.orbit, "fly", not state.orbit.fly)),
    "b": ("spin", lambda state, paths: state.toggle("spin")),
    "j": ("coarser pixels", lambda state, paths: state.next_detail()),
    "o": ("brighter", lambda state, paths: state.expose(0.5)),
    "l": ("darker", lambda state, paths: state.expose(-0.5)),
    "Tab": ("next parameter", lambda state, paths: state.move_choice(paths, 1)),
    "BackSpace": ("parameter before", lambda state, paths: state.move_choice(paths, -1)),
    "g": ("next group of parameters", lambda state, paths: state.next_group(paths)),
    "x": ("ranges around the values", lambda state, paths: state.wishes.add("ranges")),
    "u": ("parameter back as it was", lambda state, paths: state.wishes.add("undo")),
    " ": ("fit: pause or play", lambda state, paths: state.toggle_pause()),
    "n": ("fit: one step", lambda state, paths: state.one_step()),
    "p": ("write the picture", lambda state, paths: state.wishes.add("picture")),
    "m": ("panel on or off", lambda state, paths: state.toggle("panel")),
    "k": ("this list", lambda state, paths: state.toggle("help")),
    "Escape": ("close", lambda state, paths: state.toggle("closed")),
}


def _after(names, name: str):
    """The one after `name`, around the end; the first where it is none of them."""
    names = list(names)
    return names[(names.index(name) + 1) % len(names)] if name in names else names[0]
