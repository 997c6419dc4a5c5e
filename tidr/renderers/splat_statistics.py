"""What a renderer of splats notes of each Gaussian while gradients are computed; density control reads it."""

from collections.abc import Mapping

import numpy as np

from tidr.buffer import Buffer
from tidr.errors import SceneError


class SplatStatistics:
    """Sums over the backward passes since it was made or cleared, one row a Gaussian.

    On the device: gradient_sum [N, 1], length of the loss's gradient by the projected mean in units of half the image
    (pixels * W / 2 and H / 2, so that it does not depend on the resolution), of every view; seen [N, 1], the number of
    views in which the Gaussian was drawn; radius [N, 1], the largest radius on the screen, in pixels (3 standard
    deviations along the longest axis).
    """

    def __init__(self, count: int) -> None:
        self.reset(count)

    def reset(self, count: int) -> None:
        """Begin anew, for `count` Gaussians."""
        self.count = count
        self._buffers = {name: Buffer((count, 1)) for name in ("gradient_sum", "seen", "radius")}
        self.clear()

    def clear(self) -> None:
        """Set all sums to 0."""
        for buffer in self._buffers.values():
            buffer.ndarray.fill(0.0)

    @property
    def gradient_sum(self):
        return self._buffers["gradient_sum"].ndarray

    @property
    def seen(self):
        return self._buffers["seen"].ndarray

    @property
    def radius(self):
        return self._buffers["radius"].ndarray

    def gradients(self) -> np.ndarray:
        """[N] mean of the gradient's length over the views in which a Gaussian was drawn; 0 where it never was."""
        state = self.state()
        return state["gradient_sum"] / np.maximum(state["seen"], 1)

    def radii(self) -> np.ndarray:
        """[N] largest radius on the screen, in pixels; 0 where a Gaussian was never drawn."""
        return self.state()["radius"]

    def state(self) -> dict[str, np.ndarray]:
        """The sums [N] by name, for a checkpoint."""
        return {name: buffer.ndarray.to_numpy()[: self.count, 0] for name, buffer in self._buffers.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` gave.

        Raises:
            SceneError: it is of another number of Gaussians.
        """
        for name, buffer in self._buffers.items():
            found = np.asarray(state.get(name, ()))
            if found.shape != (self.count,):
                raise SceneError(f"statistics.{name}", f"has shape {found.shape}, expected ({self.count},)")
            kept = buffer.ndarray.to_numpy()
            kept[: self.count, 0] = found
            buffer.ndarray.from_numpy(kept)
