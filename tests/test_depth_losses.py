"""Losses of depth: photometric error against a twin, least error and stationary pixels, smoothness, consistency."""

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting import depth_losses
from tidr.parameter import Parameter
from tidr.renderers.reprojection import Reprojection

from .gradients import directional_check, tape_gradients
from .test_losses import ssim_twin
from .test_reprojection import NEAR, two_planes

HEIGHT, WIDTH = 14, 16


def pictures(seed: int = 0, views: int = 2, height: int = HEIGHT, width: int = WIDTH):
    """(warped [B, H, W, 3], target [H, W, 3], valid [B, H, W, 1]); no two entries closer than a difference's step."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.2, 0.8, (height, width, 3))
    gap = rng.uniform(0.02, 0.2, (views, height, width, 3)) * rng.choice([-1, 1], (views, height, width, 3))
    return target + gap, target, (rng.uniform(size=(views, height, width, 1)) > 0.15).astype(float)


def error_twin(image: np.ndarray, target: np.ndarray, similarity: float) -> np.ndarray:
    """[H, W] error of one picture, window by window."""
    height, width, _ = image.shape
    found = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        top, left = np.clip(y - 5, 0, height - 11), np.clip(x - 5, 0, width - 11)
        window = np.s_[top : top + 11, left : left + 11]
        alike = np.mean([ssim_twin(image[window][..., c : c + 1], target[window][..., c : c + 1]) for c in range(3)])
        found[y, x] = similarity * (1 - alike) / 2 + (1 - similarity) * np.abs(image[y, x] - target[y, x]).mean()
    return found


@pytest.mark.row(73)
@pytest.mark.parametrize("least", [False, True])
def test_photometric_equals_its_twin(least, f64):
    warped, target, valid = pictures()
    errors = np.stack([
        error_twin(np.where(good > 0, image, target), target, 0.7) for image, good in zip(warped, valid, strict=True)
    ])  # fmt: skip
    counted = valid[..., 0] > 0
    if least:
        held = np.where(counted, errors, np.inf)
        expected = held.min(0)[counted.any(0)].mean()
    else:
        expected = errors[counted].mean()
    loss = depth_losses.photometric(Array.of(warped), target, valid, least=least, similarity=0.7)
    assert loss.name == "photometric"
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.row(73)
def test_pixels_that_look_no_better_warped_than_still_are_left_out(f64):
    warped, target, valid = pictures(views=1)
    still = target + 0.5
    still[2:5, 3:9] = target[2:5, 3:9] + 1e-3
    still = still[None]
    alone = error_twin(np.where(valid[0] > 0, warped[0], target), target, 0.0)
    fixed = error_twin(still[0], target, 0.0)
    kept = (valid[0, ..., 0] > 0) & (alone < fixed)
    assert 0 < kept.sum() < (valid > 0).sum()
    loss = depth_losses.photometric(Array.of(warped), target, valid, still, similarity=0.0)
    assert float(loss) == pytest.approx(alone[kept].mean(), rel=1e-9)
    # A camera that stands still, in front of a still scene, has nothing to say.
    same = np.repeat(target[None], 2, 0)
    array = Parameter(same)
    (gradient,) = tape_gradients(
        lambda: depth_losses.photometric(array, target, np.ones((2, *target.shape[:2], 1)), same), [array]
    )
    assert not gradient.any()


@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_photometric(least, masked, f64):
    warped, target, valid = pictures(1)
    array, still = Parameter(warped), pictures(2)[0] if masked else None
    directional_check(lambda: depth_losses.photometric(array, target, valid, still, least=least), [array], f64)


def test_where_nothing_is_valid_the_loss_is_zero(f64):
    warped, target, valid = pictures()
    array = Parameter(warped)
    (gradient,) = tape_gradients(lambda: depth_losses.photometric(array, target, 0 * valid), [array])
    assert not gradient.any()
    assert float(depth_losses.photometric(array, target, 0 * valid)) == 0.0


def test_not_valid_pixels_disturb_no_window(f64):
    """Their colour counts nowhere, not even in the similarity of the pixels around."""
    warped, target, valid = pictures()
    other = np.where(valid > 0, warped, 7.0)
    one = depth_losses.photometric(Array.of(warped), target, valid)
    assert float(one) == float(depth_losses.photometric(Array.of(other), target, valid))


@pytest.mark.row(72, 73)
def test_least_error_finds_what_each_source_cannot_see(f64):
    """Two planes: a wall's point hidden from the left camera is taken from the right one, so the least error is small
    at every pixel that one of them sees, while the mean error is not."""
    _, cameras, depth = two_planes(72, 48)
    rows, columns = np.mgrid[:48, :72]

    def painted(camera, d):
        """Smooth colours that belong to places on the planes, the square's unlike the wall's."""
        (fx, fy), (cx, cy) = camera.focal.numpy(), camera.principal_point.numpy()
        x = camera.position.numpy()[0] + (columns + 0.5 - cx) / fx * d
        y = -(rows + 0.5 - cy) / fy * d
        near = np.abs(d - (4 - NEAR)) < 0.5
        wall = np.stack([0.25 + 0.1 * np.sin(3 * x), 0.25 + 0.1 * np.sin(4 * y + x), 0.2 + 0 * x], -1)
        return np.where(near[..., None], np.stack([0.9 + 0 * x, 0.8 + 0 * x, 0.9 + 0 * x], -1), wall)

    target, *others = (painted(camera, d[..., 0]) for camera, d in zip(cameras, depth, strict=True))
    warp = Reprojection(Array.of(depth[0]), cameras[0], cameras[1:])
    warped, valid = warp.sample(np.stack(others)), warp.valid.numpy()
    seen = warp.visible(depth[1:]).numpy()
    apart = np.abs(warped.numpy() - target).mean(-1)
    hidden = (valid > 0)[..., 0] & (seen == 0)[..., 0]
    assert hidden.any(axis=(1, 2)).all()
    least = np.where(valid[..., 0] > 0, apart, np.inf)
    chosen = least.argmin(0)
    either = (seen[..., 0] > 0).any(0) & hidden.any(0)
    right = np.take_along_axis(seen[..., 0], chosen[None], 0)[0] > 0
    assert either.sum() > 50
    assert right[either].mean() > 0.97
    options = {"least": False, "similarity": 0.0}
    everywhere = float(depth_losses.photometric(warped, target, valid, **options))
    assert float(depth_losses.photometric(warped, target, valid, similarity=0.0)) < 0.2 * everywhere
    assert float(depth_losses.photometric(warped, target, seen, **options)) < 0.5 * everywhere


def smoothness_twin(depth: np.ndarray, picture: np.ndarray) -> float:
    known = depth[..., 0] > 0
    inverse = np.where(known, 1 / np.where(known, depth[..., 0], 1), 0)
    inverse = inverse / inverse[known].mean()
    total = 0.0
    for axis in (0, 1):
        pairs = np.delete(known, 0, axis) & np.delete(known, -1, axis)
        steps = np.abs(np.diff(inverse, axis=axis)) * np.exp(-np.abs(np.diff(picture, axis=axis)).mean(-1))
        total += (steps * pairs).mean()
    return total


def map_with_gaps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 3, (9, 8, 1))
    depth[4, 5] = depth[0, 0] = 0
    return depth, rng.uniform(size=(9, 8, 3))


@pytest.mark.row(73)
def test_smoothness_equals_its_twin_and_knows_no_scale(f64):
    depth, picture = map_with_gaps(0)
    loss = depth_losses.smoothness(Array.of(depth), picture)
    assert float(loss) == pytest.approx(smoothness_twin(depth, picture), rel=1e-5)
    assert float(depth_losses.smoothness(Array.of(3.7 * depth), picture)) == pytest.approx(float(loss), rel=1e-5)
    assert float(depth_losses.smoothness(Array.of(np.full((9, 8, 1), 2.0)), picture)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_smoothness(seed, f64):
    depth, picture = map_with_gaps(seed)
    depth[depth == 0] = 1.5  # a missing depth is a jump
    array = Parameter(depth)
    directional_check(lambda: depth_losses.smoothness(array, picture), [array], f64, seed)


def test_a_missing_depth_has_no_gradient(f64):
    depth, picture = map_with_gaps(3)
    array = Parameter(depth)
    (gradient,) = tape_gradients(lambda: depth_losses.smoothness(array, picture), [array])
    assert gradient[4, 5, 0] == gradient[0, 0, 0] == 0
    assert np.count_nonzero(gradient) > 60


def test_consistency_value_and_gradient(f64):
    rng = np.random.default_rng(4)
    one = rng.uniform(1, 2, (2, 5, 6, 1))
    other = one + rng.uniform(0.1, 0.4, one.shape) * rng.choice([-1, 1], one.shape)
    valid = rng.uniform(size=one.shape) > 0.3
    other[0, 1, 2], valid[0, 1, 2] = 0, True
    a, b = Parameter(one), Parameter(other)
    counted = valid & (other > 0)
    loss = depth_losses.depth_consistency(a, b, valid.astype(float))
    assert float(loss) == pytest.approx((np.abs(one - other) / (one + other))[counted].mean(), rel=1e-5)
    other[0, 1, 2] = 1.3
    b.set(other)
    directional_check(lambda: depth_losses.depth_consistency(a, b, valid.astype(float)), [a, b], f64)


def test_gradients_on_vulkan_are_those_in_double_precision(vulkan):
    """The whole way from a depth map and a pose to photometric, consistency and smoothness losses."""
    rng = np.random.default_rng(6)
    start, views = 3 + 0.2 * rng.normal(size=(16, 18, 1)), rng.uniform(size=(2, 16, 18, 3))
    maps = 3 + 0.2 * rng.normal(size=(1, 16, 18, 1))

    def gradients():
        lens = {"fov_y_degrees": 40, "width": 18, "height": 16}
        camera, source = (tidr.Camera.look_at((x, 0, 3), (x / 2, 0, 0), **lens) for x in (0.0, 0.2))
        depth = Parameter(start)

        def function(term):
            warp = Reprojection(depth, camera, [source])
            if term == "photometric":
                return depth_losses.photometric(warp.sample(views[1:]), views[0], warp.valid)
            if term == "consistency":
                return depth_losses.depth_consistency(warp.depth, warp.sample(maps), warp.valid)
            return depth_losses.smoothness(depth, views[0])

        arrays = [depth, source.position, source.rotation, source.focal]
        both = [tape_gradients(lambda term=term: function(term), arrays) for term in ("photometric", "consistency")]
        return both[0] + both[1] + tape_gradients(lambda: function("smoothness"), [depth])

    single = gradients()
    tidr.init(arch="cpu", precision=64)
    for one, two in zip(single, gradients(), strict=True):
        assert np.linalg.norm(two) > 0
        assert np.linalg.norm(one - two) <= 2e-2 * np.linalg.norm(two)


def test_other_shapes_are_refused(f32):
    warped, target, valid = pictures()
    array = Array.of(warped)
    for arguments, message in (
        ((Array.of(warped[0]), target, valid), r"\[B, H, W, C\]"),
        ((Array.of(warped[:, :10]), target[:10], valid[:, :10]), "11"),
        ((array, target[:-1], valid), "target"),
        ((array, target, valid[:1]), "valid"),
        ((array, target, valid, warped[:1]), "still"),
    ):
        with pytest.raises(SceneError, match=message):
            depth_losses.photometric(*arguments)
    with pytest.raises(SceneError, match="similarity"):
        depth_losses.photometric(array, target, valid, similarity=1.5)
    with pytest.raises(SceneError, match=r"\[H, W, 1\]"):
        depth_losses.smoothness(array, target)
    with pytest.raises(SceneError, match="picture"):
        depth_losses.smoothness(Array.of(np.ones((4, 5, 1))), np.ones((5, 4, 3)))
    with pytest.raises(SceneError, match="one shape"):
        depth_losses.depth_consistency(
            Array.of(np.ones((1, 4, 5, 1))), Array.of(np.ones((2, 4, 5, 1))), np.ones((1, 4, 5, 1))
        )
