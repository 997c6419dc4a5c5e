"""R17 for renderers: a NaN in a parameter is refused by name, and one that a kernel wrote makes no gradient."""

from collections.abc import Sequence

import numpy as np
import pytest

import tidr
from tidr.errors import GradientError, TidrError
from tidr.fitting.loop import FitError

from .gradients import tape_gradients


def is_refused(scene: tidr.Scene, camera: tidr.Camera, renderer, paths: Sequence[str], size=8) -> None:
    """Assert it of the last number of each parameter; a fit of all of them stops and names each of them."""
    black, chosen = np.zeros((size, size, 3)), scene.parameters(*paths)

    def loss() -> tidr.losses.Loss:
        return tidr.losses.mse(tidr.render(scene, camera, renderer, size, size).rgb, black)

    def spoil(parameter: tidr.Parameter) -> None:
        """What a kernel may do."""
        rows = parameter.value.to_numpy()
        rows[-1, -1] = np.nan
        parameter.value.from_numpy(rows)
        parameter.touch()

    for path, parameter in chosen.items():
        before = parameter.numpy()
        broken = before.copy()
        broken.reshape(-1)[-1] = np.nan
        with pytest.raises(TidrError, match=path):
            parameter.set(broken)
        np.testing.assert_array_equal(parameter.numpy(), before)
        spoil(parameter)
        with pytest.raises(GradientError, match="mse"):
            tape_gradients(loss, [parameter])
        parameter.set(before)
    assert np.isfinite(float(loss()))
    for parameter in chosen.values():
        spoil(parameter)
    with pytest.raises(FitError, match="not finite") as caught:
        tidr.fit(scene, [(camera, black)], chosen, renderer=renderer)
    assert all(path in str(caught.value) for path in paths)
