"""The loss of a running fit, as a small picture."""

import numpy as np

LONGEST = 4096  # losses kept; beyond, every second one goes and from then on fewer are taken
BACK, GRID, LINE = 0xFF181818, 0xFF303030, 0xFF40C0FF


class Curve:
    """Losses by step, in bounded memory; drawn by their logarithm."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.last, self.best, self.number = float("nan"), float("inf"), 0
        self._every = 1
        self._drawn: tuple | None = None

    def add(self, step: int, loss: float) -> None:
        self.last, self.number = loss, step
        if not np.isfinite(loss):
            return
        self.best = min(self.best, loss)
        if step % self._every == 0:
            self.steps.append(step)
            self.losses.append(loss)
        if len(self.losses) > LONGEST:
            self._every *= 2
            self.steps, self.losses = self.steps[::2], self.losses[::2]

    def draw(self, pixels: np.ndarray) -> bool:
        """Fill packed pixels [W, H], row 0 at the bottom; False where nothing changed."""
        key = (len(self.losses), self._every, pixels.shape, pixels.ctypes.data)
        if key == self._drawn:
            return False
        self._drawn = key
        width, height = pixels.shape
        pixels[:] = BACK
        pixels[:, :: max(height // 4, 1)] = GRID
        if len(self.losses) > 1:
            columns, rows = self._places(width, height)
            for x in range(width):
                here = rows[columns == x]
                if len(here):
                    pixels[x, here.min() : here.max() + 1] = LINE
        return True

    def _places(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Column and row of points along the line, close enough that it has no gaps across."""
        steps, logs = np.array(self.steps, float), np.log(np.maximum(self.losses, 1e-30))
        along = np.linspace(steps[0], steps[-1], max(width, 2 * len(steps)))
        heights = np.interp(along, steps, logs)
        span = np.ptp(logs) or 1.0
        columns = (along - steps[0]) / (steps[-1] - steps[0]) * (width - 1)
        rows = (heights - logs.min()) / span * (height - 3) + 1
        return np.rint(columns).astype(int), np.rint(rows).astype(int)
