"""Screened Poisson reconstruction: exact, self-consistent, differentiable, and what it refuses."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.parameter import Parameter

from .gradients import directional_check, tape_gradients, weighted


def differences(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To the next pixel to the right and below; the last column and row hold what nobody may read."""
    return tuple(
        np.concatenate([np.diff(image, axis=a), np.full_like(np.take(image, [0], a), 9.0)], a) for a in (-2, -3)
    )


def dense_twin(image, across, down, alpha) -> np.ndarray:
    """Least squares over all pixels of one channel at a time."""
    height, width = image.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    rows = [alpha * np.eye(height * width)]
    values = [alpha * image.reshape(-1, 3)]
    for given, a, b in ((across, number[:, :-1], number[:, 1:]), (down, number[:-1], number[1:])):
        pairs = np.zeros((a.size, height * width))
        pairs[np.arange(a.size), a.ravel()], pairs[np.arange(a.size), b.ravel()] = -1, 1
        rows.append(pairs)
        values.append(given[: a.shape[0], : a.shape[1]].reshape(-1, 3))
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0].reshape(image.shape)


@pytest.mark.parametrize("shape", [(7, 9), (1, 6), (5, 1), (1, 1)])
def test_it_is_the_least_squares_solution(shape, backend):
    rng = np.random.default_rng(0)
    image, across, down = (rng.normal(size=(*shape, 3)) for _ in range(3))
    found = tidr.screened_poisson(image, across, down, alpha=0.3).numpy()
    tolerance = 1e-10 if backend.precision == 64 else 2e-5
    np.testing.assert_allclose(found, dense_twin(image, across, down, 0.3), atol=tolerance * 10)


def test_a_picture_with_its_own_gradients_comes_back(f32):
    image = np.random.default_rng(1).uniform(size=(2, 33, 40, 3))
    found = tidr.screened_poisson(image, *differences(image)).numpy()
    np.testing.assert_allclose(found, image, atol=2e-5)


def test_good_gradients_take_the_noise_away(f32):
    rows, columns = np.mgrid[:48, :64] / 48
    clean = np.stack([np.sin(5 * rows), rows * columns, (columns > 0.6) * 1.0], -1)
    noisy = clean + 0.2 * np.random.default_rng(2).normal(size=clean.shape)
    found = tidr.screened_poisson(noisy, *differences(clean))
    assert tidr.losses.psnr(found, clean) > tidr.losses.psnr(noisy, clean) + 15


@pytest.mark.parametrize("shape", [(6, 7), (2, 5, 4)])
def test_gradients(shape, backend):
    rng = np.random.default_rng(3)
    arrays = [Parameter(rng.normal(size=(*shape, 3))) for _ in range(3)]
    weights = rng.normal(size=arrays[0].shape)
    directional_check(lambda: weighted(tidr.screened_poisson(*arrays, alpha=0.4), weights), arrays, backend)


def test_what_is_not_read_has_no_gradient(f64):
    rng = np.random.default_rng(4)
    arrays = [Parameter(rng.normal(size=(4, 5, 3))) for _ in range(3)]
    by_image, across, down = tape_gradients(lambda: weighted(tidr.screened_poisson(*arrays), 1.0), arrays)
    np.testing.assert_allclose(by_image, 1.0, rtol=1e-9)  # a brighter picture is as much brighter
    assert not across[:, -1].any()
    assert not down[-1].any()


def test_bad_input_is_refused(f32):
    image = np.ones((4, 5, 3))
    for arguments, message in (
        ((image[..., 0], image, image), r"image.*\[H, W, 3\]"),
        ((image, image[:-1], image), r"across.*shape"),
        ((image, image, image[None]), r"down.*shape"),
        ((image, image * np.nan, image), r"across.*NaN"),
        ((image, image, image, 0.0), "alpha"),
    ):
        with pytest.raises(SceneError, match=message):
            tidr.screened_poisson(*arguments)
