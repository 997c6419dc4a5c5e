"""Sliders over parameters: what they show, how far they go, and what moving one does to the parameter."""

import numpy as np

from tidr.parameter import Parameter

LEAST = 1e-6  # of what must be positive
MOST_SLIDERS = 8  # channels that have one


def moved(value: np.ndarray, row: int, channel: int, by: float) -> np.ndarray:
    """A copy with one channel moved: of one row, or of every row where row is -1."""
    made = np.array(value)
    rows = made.reshape(-1, made.shape[-1] if made.ndim else 1)
    rows[slice(None) if row < 0 else row, channel] += by
    return made


def held(parameter: Parameter, value: np.ndarray) -> np.ndarray:
    """The value as the parameter's constraint wants it."""
    constraint = parameter.constraint
    if constraint.fixed:
        return parameter.numpy()
    if constraint.clamp is not None:
        value = np.clip(value, *constraint.clamp)
    if constraint.positive:
        value = np.maximum(value, LEAST)
    if constraint.simplex:
        value = np.maximum(value, 0) / np.maximum(np.maximum(value, 0).sum(-1, keepdims=True), LEAST)
    if constraint.unit:
        value = value / np.maximum(np.linalg.norm(value, axis=-1, keepdims=True), LEAST)
    return value


class Sliders:
    """The sliders of one parameter. They stand at one row's values, or at the means over all rows, which move together.

    Their ranges stay while they are dragged: a clamp's own, else around the values when they were chosen.
    """

    def __init__(self, parameter: Parameter, row: int = -1) -> None:
        self.parameter, self.row = parameter, row
        self.before = parameter.numpy()
        self.count = min(parameter.channels, MOST_SLIDERS)
        self._seen: tuple[int, np.ndarray] | None = None
        self.centre_ranges()

    def values(self) -> np.ndarray:
        """[count] what the sliders show."""
        if self._seen is None or self._seen[0] != self.parameter.version:
            rows = self.parameter.numpy().reshape(-1, self.parameter.channels)[:, : self.count]
            shown = rows.mean(0, dtype=np.float64) if self.row < 0 else rows[self.row]
            self._seen = (self.parameter.version, shown.astype(np.float32))
        return self._seen[1]

    def centre_ranges(self) -> None:
        """Ranges anew around the values as they are."""
        constraint, values = self.parameter.constraint, self.values().astype(np.float64)
        reach = 1.0 if constraint.unit else np.maximum(2 * np.abs(values), 1.0)
        self.low, self.high = values - reach, values + reach
        if constraint.positive or constraint.simplex:
            self.low, self.high = np.full(self.count, LEAST), np.maximum(self.high, 1.0)
        if constraint.clamp is not None:
            low, high = (np.full(self.count, end, np.float64) for end in constraint.clamp)
            self.low = np.where(np.isfinite(low), low, self.low)
            self.high = np.where(np.isfinite(high), high, self.high)

    def move(self, channel: int, value: float) -> None:
        """A slider was moved to `value`."""
        by = float(value) - float(self.values()[channel])
        self.parameter.set(held(self.parameter, moved(self.parameter.numpy(), self.row, channel, by)))

    def undo(self) -> None:
        """Back to where the parameter was when it was chosen, unless it has got another shape since."""
        if self.before.shape == self.parameter.shape:
            self.parameter.set(self.before)
