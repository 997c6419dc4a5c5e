"""Ctrl-C and SIGTERM during a fit: finish the step and save, unless asked twice."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """Inside the block the first signal is only noted; the second Ctrl-C raises KeyboardInterrupt at once.

    Outside the main thread Python gives no signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def raise_caught(self) -> None:
        """End the program as the signal asked: KeyboardInterrupt, or SystemExit 143."""
        if self.caught == signal.SIGINT:
            raise KeyboardInterrupt
        if self.caught is not None:
            raise SystemExit(128 + self.caught)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = number
