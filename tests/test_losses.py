"""Image losses: closed forms of methods F1-F3, gradients, masks, refused shapes, and no allocation in a loop."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tidr import buffer, losses
from tidr.array import Array
from tidr.errors import SceneError
from tidr.parameter import Parameter

from .gradients import directional_check, tape_gradients

PIXELWISE = {
    "mse": lambda d, t: d**2,
    "l1": lambda d, t: np.abs(d),
    "charbonnier": lambda d, t: np.sqrt(d**2 + 1e-6),
    "relative_l2": lambda d, t: d**2 / (t**2 + 0.01),
}


def pictures(shape=(2, 5, 7, 3), seed=0):
    """An image and a target whose entries differ by at least 0.1, so that no kink is near."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 1, shape)
    gap = rng.uniform(0.1, 0.6, shape) * rng.choice([-1, 1], shape)
    return target + gap, target


def ssim_twin(image, target):
    """Mean SSIM of two [H, W, C] images, window by window."""
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for top in range(image.shape[0] - 10):
        for left in range(image.shape[1] - 10):
            x, y = (a[top : top + 11, left : left + 11] for a in (image, target))
            mean_x, mean_y = (np.tensordot(window, a, 2) for a in (x, y))
            var_x, var_y = (np.tensordot(window, a**2, 2) - m**2 for a, m in ((x, mean_x), (y, mean_y)))
            cov = np.tensordot(window, x * y, 2) - mean_x * mean_y
            top_part = (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4)
            values.append(top_part / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)))
    return np.mean(values)


@pytest.mark.parametrize("name", PIXELWISE)
def test_pixelwise_value_is_the_mean_over_entries(name, backend):
    image, target = pictures()
    loss = getattr(losses, name)(Array.of(image), target)
    assert loss.name == name
    assert float(loss) == pytest.approx(PIXELWISE[name](image - target, target).mean(), rel=1e-5)


@pytest.mark.parametrize("name", PIXELWISE)
@pytest.mark.parametrize("masked", [False, True])
def test_pixelwise_gradient(name, masked, backend):
    image, target = pictures((5, 7, 3))
    array = Parameter(image)
    mask = np.random.default_rng(1).uniform(0, 1, (5, 7)) if masked else None
    directional_check(lambda: getattr(losses, name)(array, target, mask=mask), [array], backend)


def test_mask_multiplies_and_divides_by_its_sum(f64):
    image, target = pictures((4, 4, 3))
    mask = np.zeros((4, 4, 1))
    mask[1, 2], mask[3, 0] = 1, 0.5
    expected = ((image - target) ** 2 * mask).sum() / (mask.sum() * 3)
    assert float(losses.mse(Array.of(image), target, mask=mask)) == pytest.approx(expected, rel=1e-12)
    assert float(losses.mse(Array.of(image), target, mask=Array.of(mask))) == pytest.approx(expected, rel=1e-12)


def test_empty_mask_gives_zero_loss_and_gradient(f64):
    image, target = pictures((12, 12, 1))
    array, mask = Parameter(image), np.zeros((12, 12, 1))
    for loss in (losses.mse, losses.ssim, losses.silhouette):
        (gradient,) = tape_gradients(lambda loss=loss: loss(array, target, mask=mask), [array])
        assert not gradient.any()
        assert float(loss(array, target, mask=mask)) == 0.0


def test_silhouette_closed_form(backend):
    alpha, target = np.array([1, 0.5, 0]), np.array([1.0, 1, 0])
    loss = losses.silhouette(Array.of(alpha.reshape(1, 3, 1)), target.reshape(1, 3))
    assert loss.name == "silhouette"
    assert float(loss) == pytest.approx(0.25, abs=1e-6)


def test_silhouette_is_the_mean_over_views(backend):
    rng = np.random.default_rng(3)
    alpha = rng.uniform(0, 1, (3, 6, 5, 1))
    target = (rng.uniform(0, 1, (3, 6, 5, 1)) > 0.5).astype(float)
    alpha[2] = target[2] = 0
    per_view = [1 - (a * b).sum() / (a + b - a * b).sum() for a, b in zip(alpha[:2], target[:2], strict=True)]
    array = Parameter(alpha)
    assert float(losses.silhouette(array, target)) == pytest.approx(sum(per_view) / 3, rel=1e-5)
    array = Parameter(alpha[:2])
    directional_check(lambda: losses.silhouette(array, target[:2]), [array], backend)


def test_silhouette_gradient_with_mask(backend):
    rng = np.random.default_rng(4)
    array, target = Parameter(rng.uniform(0, 1, (6, 5, 1))), (rng.uniform(0, 1, (6, 5)) > 0.5).astype(float)
    mask = rng.uniform(0, 1, (6, 5, 1))
    directional_check(lambda: losses.silhouette(array, target, mask=mask), [array], backend)


def test_ssim_equals_the_window_by_window_twin(backend):
    rng = np.random.default_rng(5)
    image, target = rng.uniform(0, 1, (2, 14, 13, 2)), rng.uniform(0, 1, (2, 14, 13, 2))
    expected = (1 - np.mean([ssim_twin(a, b) for a, b in zip(image, target, strict=True)])) / 2
    loss = losses.ssim(Array.of(image), target)
    assert loss.name == "dssim"
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(losses.ssim(Array.of(image), image)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_ssim_gradient(masked, backend):
    rng = np.random.default_rng(6)
    target = rng.uniform(0, 1, (2, 14, 13, 2))
    array = Parameter(np.clip(target + rng.normal(0, 0.1, target.shape), 0, 1))
    mask = rng.uniform(0, 1, (2, 14, 13, 1)) if masked else None
    directional_check(lambda: losses.ssim(array, target, mask=mask), [array], backend)


@pytest.mark.parametrize("name", ["mse", "l1", "silhouette"])
def test_multi_scale_gradient(name, backend):
    image, target = pictures((2, 7, 6, 1), seed=7)
    if name == "l1":
        image = target + np.abs(image - target)
    array = Parameter(image)
    loss = getattr(losses, name)
    assert losses.multi_scale(array, target, loss=loss, levels=3).name == f"multi_scale_{name}"
    directional_check(lambda: losses.multi_scale(array, target, loss=loss, levels=3), [array], backend)


def test_multi_scale_value_is_the_mean_over_box_levels(f64):
    image, target = pictures((8, 8, 3), seed=8)
    levels = []
    for _ in range(3):
        levels.append(((image - target) ** 2).mean())
        image, target = (a.reshape(len(a) // 2, 2, -1, 2, 3).mean((1, 3)) for a in (image, target))
    image, target = pictures((8, 8, 3), seed=8)
    assert float(losses.multi_scale(Array.of(image), target, levels=3)) == pytest.approx(np.mean(levels), rel=1e-12)
    with pytest.raises(SceneError, match="take 1 to 4"):
        losses.multi_scale(Array.of(image), target, levels=5)


def test_multi_scale_with_mask_runs_and_differs(backend):
    image, target = pictures((8, 8, 3), seed=9)
    array, mask = Parameter(image), np.zeros((8, 8))
    mask[:4] = 1
    directional_check(lambda: losses.multi_scale(array, target, mask=mask, levels=2), [array], backend)


def test_psnr_and_iou():
    assert losses.psnr(np.full((4, 4, 3), 0.6), np.full((4, 4, 3), 0.5)) == pytest.approx(20.0)
    assert losses.psnr(np.ones((2, 2, 3)), np.ones((2, 2, 3))) == math.inf
    assert losses.iou(np.array([[1.0, 1, 0, 0]]), np.array([[0, 1.0, 1, 0]])) == pytest.approx(1 / 3)
    assert losses.iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1.0
    with pytest.raises(SceneError, match=r"\(2, 2\).*\(3, 2\)"):
        losses.iou(np.zeros((3, 2)), np.zeros((2, 2)))


def test_image_objects_give_their_channel(f32):
    rgb, alpha = Array.of(np.full((12, 12, 3), 0.5)), Array.of(np.full((12, 12, 1), 0.5))
    image = SimpleNamespace(rgb=rgb, alpha=alpha)
    assert float(losses.mse(image, np.zeros((12, 12, 3)))) == pytest.approx(0.25)
    assert float(losses.silhouette(image, np.ones((12, 12, 1)))) == pytest.approx(0.5)
    assert float(losses.mse(image, image)) == 0.0
    assert losses.psnr(image, np.full((12, 12, 3), 0.6)) == pytest.approx(20.0, rel=1e-4)


def test_gradient_goes_to_the_image_only(f32):
    image, target = (Parameter(a) for a in pictures((4, 4, 3)))
    target.set_grad(np.full((4, 4, 3), 7.0))
    (gradient,) = tape_gradients(lambda: losses.mse(image, target), [image])
    assert gradient.any()
    assert (target.grad_numpy() == 7.0).all()


def test_wrong_shapes_name_both(f32):
    image = Array.of(np.zeros((4, 5, 3)))
    with pytest.raises(SceneError, match=r"mse.*\(5, 4, 3\).*\(4, 5, 3\)"):
        losses.mse(image, np.zeros((5, 4, 3)))
    with pytest.raises(SceneError, match=r"silhouette.*\(4, 5, 3\).*one channel"):
        losses.silhouette(image, np.zeros((4, 5, 3)))
    with pytest.raises(SceneError, match=r"mse mask.*\(4, 4\).*\(4, 5, 3\)"):
        losses.mse(image, np.zeros((4, 5, 3)), mask=np.zeros((4, 4)))
    with pytest.raises(SceneError, match="at least 11"):
        losses.ssim(image, np.zeros((4, 5, 3)))
    with pytest.raises(SceneError, match=r"\[H, W, C\]"):
        losses.mse(Array.of(np.zeros(4)), np.zeros(4))
    with pytest.raises(SceneError, match="uint8"):
        losses.mse(image, np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(SceneError, match="ndarray as image"):
        losses.mse(np.zeros((4, 5, 3)), np.zeros((4, 5, 3)))


@pytest.mark.parametrize("name", [*PIXELWISE, "ssim", "silhouette", "multi_scale"])
def test_a_loop_allocates_nothing_and_repeats_bit_for_bit(name, f32):
    image, target = (Parameter(a) for a in pictures((2, 16, 16, 1)))
    loss = getattr(losses, name)
    first = tape_gradients(lambda: loss(image, target), [image])[0]
    tape_gradients(lambda: loss(image, target), [image])
    before = buffer.allocations
    again = tape_gradients(lambda: loss(image, target), [image])[0]
    assert buffer.allocations == before
    assert (first == again).all()
