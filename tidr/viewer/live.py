"""A fit that can be watched: draws between its steps, at a pace that leaves the fit its time, and can hold it."""

import time
from collections import deque
from collections.abc import Callable
from statistics import median

from tidr.fitting.loop import Watcher
from tidr.scene.graph import Scene

from .state import State
from .window import Window

SHARE = 0.05  # of the time that a fit takes may go into drawing; software Vulkan works on beyond the call
PAUSED_SECONDS = 1 / 30  # between frames of a fit that waits


class Pace:
    """Says when to draw, so that drawing takes `share` of the time at most."""

    def __init__(self, share: float = SHARE, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self.clock = share, clock
        self._costs: deque[float] = deque(maxlen=3)  # seconds of the last drawings
        self._free = clock()  # when the last drawing ended

    def due(self) -> bool:
        """Whether the fit has worked long enough since the last drawing to pay for one more."""
        # The median: a single drawing that had to compile says nothing about the next.
        cost = median(self._costs) if self._costs else 0.0
        return (self.clock() - self._free) * self.share >= cost * (1 - self.share)

    def drew(self, seconds: float) -> None:
        """A drawing took so long and is over."""
        self._costs.append(seconds)
        self._free = self.clock()


class LiveFit(Watcher):
    """Passes on to `inner` what it hears of a fit, and shows the scene in between.

    The window never holds the fit unless it is paused there; the fit goes on without it when it is closed, and a signal
    ends a pause. Drawing records nothing and changes no parameter that the user does not move.

    Args:
        open_window: makes the window once the fit begins.
    """

    def __init__(self, inner: Watcher, open_window: Callable[[], Window], pace: Pace | None = None) -> None:
        self.inner, self.pace = inner, pace or Pace()
        self._open, self.window = open_window, None

    @property
    def state(self) -> State | None:
        return self.window.state if self.window is not None else None

    def start(self, done: int, total: int) -> None:
        self.inner.start(done, total)
        self.window = self._open()
        self.window.state.fitting = True
        self.window.frame()  # compiles
        self._draw()

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        self.inner.step(step, loss, psnr)
        window = self.window
        if window is None:
            return
        window.curve.add(step, loss)
        if self.pace.due():
            self._draw()
        while window.open and not window.state.takes_step() and not self._interrupted():
            window.frame()
            time.sleep(PAUSED_SECONDS)
        if not window.open:
            self.window = None
            self.inner.say("the window is closed; the fit goes on")

    def say(self, text: str) -> None:
        self.inner.say(text)
        if self.window is not None:
            self.window.note = text

    def stop(self) -> None:
        if self.window is not None:
            self.window.state.fitting = self.window.state.paused = False
        self.inner.stop()

    def linger(self) -> None:
        """After the fit: the window stays until it is closed."""
        if self.window is not None and self.window.open:
            self.window.run()

    def close(self) -> None:
        if self.window is not None:
            self.window.close()

    def _interrupted(self) -> bool:
        return self.interrupts is not None and self.interrupts.caught is not None

    def _draw(self) -> None:
        began = self.pace.clock()
        if self.window is not None:
            self.window.frame()
        self.pace.drew(self.pace.clock() - began)


def live_fit(inner: Watcher, scene: Scene, name: str, side: int = 512) -> LiveFit:
    """A watcher that opens a window on the scene of a fit once that begins; see `LiveFit`."""

    def open_window() -> Window:
        state = State.of(scene, options=scene.fit.renderer if scene.fit is not None else None)
        first = next(iter(state.cameras.values()))
        scale = min(side / max(first.width, first.height), 1.0)
        return Window(scene, state, round(first.width * scale), round(first.height * scale), f"tidr {name}")

    return LiveFit(inner, open_window)
