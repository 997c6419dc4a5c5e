"""Denoisers: equal to plain twins, gain on noise, derivatives by colour and every feature, and what they refuse."""

import numpy as np
import pytest

import tidr
from tidr import losses
from tidr.array import Array
from tidr.errors import SceneError
from tidr.parameter import Parameter

from .gradients import directional_check, tape_gradients, weighted

METHODS = {
    "atrous": tidr.ATrous(levels=3, sigma_color=0.8, sigma_albedo=0.6, normal_power=20),
    "nlm": tidr.NonLocalMeans(patch=3, window=7, k=0.9, sigma=0.25, sigma_albedo=0.6, normal_power=20),
}


def features(shape, seed=0) -> dict[str, np.ndarray]:
    """Normals of any length that mostly look one way, albedos, and depths of a tilted, rough plane."""
    rng = np.random.default_rng(seed)
    normal = (rng.normal(size=(*shape, 3)) * 0.15 + [0, 0.3, 1]) * rng.uniform(0.5, 2, (*shape, 1))
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    depth = 2 + 0.03 * rows + 0.05 * columns + 0.02 * rng.normal(size=shape)
    return {"normal": normal, "albedo": rng.uniform(0.1, 0.9, (*shape, 3)), "depth": depth[..., None]}


def slope_twin(depth: np.ndarray, axis: int) -> np.ndarray:
    """The smaller of the steps to both sides."""
    step = np.diff(depth, axis=axis)
    edge = np.full_like(np.take(depth, [0], axis), np.inf)
    ahead, behind = np.concatenate([step, edge], axis), np.concatenate([edge, step], axis)
    return np.where(np.abs(ahead) < np.abs(behind), ahead, behind)


def affinity_twin(method, normal, albedo, depth, p, q) -> float:
    a, b = normal[p], normal[q]
    cosine = max(a @ b / np.sqrt(a @ a * (b @ b)), 0)
    apart = ((albedo[p] - albedo[q]) ** 2).sum() / method.sigma_albedo**2
    z = depth[..., 0]
    along = slope_twin(z, 1)[p] * (q[1] - p[1]) + slope_twin(z, 0)[p] * (q[0] - p[0])
    apart += abs(z[p] - z[q]) / (method.sigma_depth * abs(along) + 5e-4 * (abs(z[p]) + abs(z[q])) + 1e-12)
    return cosine**method.normal_power * np.exp(-apart)


def atrous_twin(method, image, normal, albedo, depth) -> np.ndarray:
    spline = np.array([1, 4, 6, 4, 1]) / 16
    for level in range(method.levels):
        found, sigma = np.zeros_like(image), method.sigma_color / 2**level
        for p in np.ndindex(*image.shape[:2]):
            total = 0.0
            for i, j in np.ndindex(5, 5):
                q = (p[0] + (i - 2) * 2**level, p[1] + (j - 2) * 2**level)
                if 0 <= q[0] < image.shape[0] and 0 <= q[1] < image.shape[1]:
                    w = spline[i] * spline[j] * np.exp(-((image[p] - image[q]) ** 2).sum() / sigma**2)
                    w *= affinity_twin(method, normal, albedo, depth, p, q)
                    found[p] += w * image[q]
                    total += w
            found[p] /= total
        image = found
    return image


def nlm_twin(method, image, normal, albedo, depth, variance) -> np.ndarray:
    reach, half = method.patch // 2, method.window // 2
    inside = {p: image[p] for p in np.ndindex(*image.shape[:2])}
    found = np.zeros_like(image)
    for p in inside:
        total = 0.0
        for oy, ox in np.ndindex(method.window, method.window):
            oy, ox = oy - half, ox - half
            if (p[0] + oy, p[1] + ox) not in inside:
                continue
            terms = []
            for ty, tx in np.ndindex(method.patch, method.patch):
                r = (p[0] + ty - reach, p[1] + tx - reach)
                q = (r[0] + oy, r[1] + ox)
                if r in inside and q in inside:
                    u, v = variance[r], variance[q]
                    d = ((image[r] - image[q]) ** 2 - u - np.minimum(u, v)) / (1e-8 + method.k**2 * (u + v))
                    terms.append(d.mean())
            q = (p[0] + oy, p[1] + ox)
            w = np.exp(-max(np.mean(terms), 0)) * affinity_twin(method, normal, albedo, depth, p, q)
            found[p] += w * image[q]
            total += w
        found[p] /= total
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_denoiser_equals_its_twin(name, backend):
    rng = np.random.default_rng(1)
    image, guide = rng.uniform(size=(9, 11, 3)), features((9, 11))
    method, found = METHODS[name], {}
    if name == "atrous":
        expected = atrous_twin(method, image, **guide)
    else:
        found["variance"] = rng.uniform(0.02, 0.1, image.shape)
        expected = nlm_twin(method, image, **guide, **found)
    out = tidr.denoise(image, method, **guide, **found).numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-9 if backend.precision == 64 else 1e-4)


def ball(height=64, width=96) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A shaded ball over a checkered floor with a shadow, and its features."""
    y, x = np.mgrid[:height, :width]
    x, y = (x + 0.5 - width / 2) / (height / 2), (height / 2 - y - 0.5) / (height / 2)
    far = x * x + y * y
    front = np.sqrt(np.maximum(0, 0.49 - far)) / 0.7
    on_ball, on_floor = (far < 0.49)[..., None], (y < -0.3)[..., None]
    normal = np.where(on_ball, np.stack([x / 0.7, y / 0.7, front], -1), np.where(on_floor, [0, 1.0, 0], [0, 0, 1.0]))
    depth = np.where(on_ball, 4 - 0.7 * front[..., None], np.where(on_floor, 5 + (y[..., None] + 0.3) * 3, 5))
    tiles = ((np.floor(4 * x) + np.floor(4 * y)) % 2)[..., None]
    albedo = np.where(on_ball, [0.8, 0.3, 0.2], np.where(tiles > 0, [0.7, 0.7, 0.7], [0.2, 0.3, 0.5]))
    light = 0.3 + 2.5 * np.maximum(normal @ [0.4, 0.6, 0.7] / 1.005, 0)
    light *= np.where((np.abs(x + 0.5 * y - 0.6) < 0.15) & ~on_ball[..., 0], 0.4, 1.0)
    return albedo * light[..., None] / 3, {"normal": normal, "albedo": albedo, "depth": depth}


@pytest.mark.row(101)
@pytest.mark.parametrize("name", METHODS)
def test_four_noisy_samples_gain_six_decibels(name, f32):
    clean, guide = ball()
    rng = np.random.default_rng(2)
    samples = clean * rng.gamma(2.0, 0.5, (4, *clean.shape[:2], 1)) * rng.uniform(0.7, 1.3, (4, *clean.shape))
    noisy = samples.mean(0)
    options = {}
    if name == "nlm":  # what four samples say of their variance, averaged over the pixels around
        spread = np.pad(samples.var(0, ddof=1) / 4, ((2, 2), (2, 2), (0, 0)), "edge")
        windows = np.lib.stride_tricks.sliding_window_view(spread, (5, 5), (0, 1))
        options["variance"] = windows.mean((-1, -2))
    denoised = tidr.denoise(noisy, name, **guide, **options)
    before, after = losses.psnr(noisy, clean), losses.psnr(denoised, clean)
    assert 10 < before < 25
    assert after > before + 6


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_picture_stays(name, f64):
    image = np.broadcast_to([0.2, 1.5, 7.0], (2, 9, 7, 3))
    for options in ({}, features((2, 9, 7)), features((2, 9, 7)) | {"demodulate": True}):
        out = tidr.denoise(image, METHODS[name], **options).numpy()
        if "demodulate" not in options:
            np.testing.assert_allclose(out, image, rtol=2e-6)
        assert np.isfinite(out).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("detached", [False, True])
def test_weights_of_a_pixel_sum_to_one(name, detached, f64):
    """A brighter picture is brighter by as much: so the gradient of any pixel, by all colours of a channel, sums to 1;
    and to nothing by the other channels."""
    image = Parameter(np.random.default_rng(3).uniform(size=(8, 9, 3)))
    chosen = np.zeros(image.shape)
    chosen[5, 2, 1] = 1
    (gradient,) = tape_gradients(
        lambda: weighted(tidr.denoise(image, METHODS[name], **features((8, 9)), detach_weights=detached), chosen),
        [image],
    )
    np.testing.assert_allclose(gradient.sum((0, 1)), [0, 1, 0], atol=1e-12)
    assert np.count_nonzero(gradient[..., 1]) > 30
    if detached:
        assert (gradient >= 0).all()
        assert not gradient[..., ::2].any()


def test_edges_of_each_feature_are_kept(f64):
    """Two halves that differ in one feature alone do not mix, and without the feature they do."""
    image = np.zeros((8, 12, 3))
    image[:, 6:] = 0.2
    left = (np.arange(12) < 6)[None, :, None] * np.ones((8, 1, 1))
    halves = {
        "normal": np.where(left > 0, [1.0, 0, 0], [0, 1.0, 0]),
        "albedo": np.where(left > 0, [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]),
        "depth": np.where(left > 0, 2.0, 3.0),
    }
    for method in ("atrous", tidr.NonLocalMeans(k=2.0)):
        mixed = tidr.denoise(image, method).numpy()
        assert np.abs(mixed - image).max() > 0.03
        for name, half in halves.items():
            np.testing.assert_allclose(tidr.denoise(image, method, **{name: half}).numpy(), image, atol=1e-6)


def test_a_tilted_plane_is_no_edge_of_depth(f64):
    """Where depth changes as its slope foretells, the weight is e^-1 whatever the distance: all pixels but the centre
    weigh alike, on a steep plane as on a gentle one."""
    image = np.random.default_rng(4).uniform(size=(9, 9, 3))
    plane = np.arange(9.0)[:, None, None] + 2 * np.arange(9.0)[None, :, None] + 1e3
    steep, gentle = (tidr.denoise(image, depth=1000 + slope * (plane - 1e3)).numpy() for slope in (100, 50))
    np.testing.assert_allclose(steep, gentle, atol=0.05)
    assert np.std(steep) < 0.4 * np.std(image)


def test_normals_that_are_missing_agree_with_each_other_only(f64):
    image = np.random.default_rng(6).uniform(size=(6, 8, 3))
    normal = np.zeros((6, 8, 3))
    normal[:, 4:] = [0, 0, 2.0]
    both = tidr.denoise(image, normal=normal).numpy()
    for half in (np.s_[:, :4], np.s_[:, 4:]):
        np.testing.assert_allclose(both[half], tidr.denoise(image[half]).numpy(), rtol=1e-12)


@pytest.mark.row(101)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_gradients_by_colour_and_features(name, demodulate, seed, f64):
    rng = np.random.default_rng(seed)
    image, guide = Parameter(rng.uniform(size=(7, 8, 3))), features((7, 8), seed)
    guide = {key: Parameter(value) for key, value in guide.items()}
    weights = rng.normal(size=image.shape)
    directional_check(
        lambda: weighted(tidr.denoise(image, METHODS[name], demodulate=demodulate, **guide), weights),
        [image, *guide.values()],
        f64,
        seed,
    )


@pytest.mark.row(101)
def test_gradient_with_variances(f64):
    rng = np.random.default_rng(7)
    image = Parameter(rng.uniform(size=(2, 6, 5, 3)))
    variance, weights = rng.uniform(0.01, 0.05, (2, 6, 5, 1)), rng.normal(size=image.shape)
    method = tidr.NonLocalMeans(patch=5, window=5, k=1.5)
    directional_check(lambda: weighted(tidr.denoise(image, method, variance=variance), weights), [image], f64)


def gradients() -> list[np.ndarray]:
    """Of the picture and its features, by either method."""
    rng = np.random.default_rng(8)
    image, guide, weights = rng.uniform(size=(10, 9, 3)), features((10, 9), 8), rng.normal(size=(10, 9, 3))
    arrays = [Parameter(image), *(Parameter(value) for value in guide.values())]
    named = dict(zip(guide, arrays[1:], strict=True))
    atrous, nlm = (
        tape_gradients(lambda m=m: weighted(tidr.denoise(arrays[0], m, **named), weights), arrays)
        for m in METHODS.values()
    )
    return atrous + nlm


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


@pytest.mark.row(101)
def test_gradients_on_vulkan_are_those_in_double_precision(exact, vulkan):
    for one, two in zip(gradients(), exact, strict=True):
        assert np.linalg.norm(two) > 0
        assert np.linalg.norm(one - two) <= 2e-2 * np.linalg.norm(two)


@pytest.mark.row(101)
def test_detached_weights_give_the_transposed_filter(f64):
    """With the weights held, the filter is linear: two filters with equal weights tell its derivative. Features get
    nothing."""
    rng = np.random.default_rng(9)
    image, guide = Parameter(rng.uniform(size=(7, 8, 3))), features((7, 8))
    normal = Parameter(guide["normal"])
    weights = rng.normal(size=image.shape)
    method = tidr.ATrous(levels=2, sigma_color=1e9)  # colours do not count: the weights are those of features

    def loss(detached):
        features = guide | {"normal": normal}
        return weighted(tidr.denoise(image, method, **features, detach_weights=detached), weights)

    exact, by_normal = tape_gradients(lambda: loss(False), [image, normal])
    held, nothing = tape_gradients(lambda: loss(True), [image, normal])
    np.testing.assert_allclose(held, exact, rtol=1e-9, atol=1e-15)
    assert by_normal.any()
    assert not nothing.any()


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_pictures_one_by_one(name, f64):
    rng = np.random.default_rng(10)
    images, guide = rng.uniform(size=(3, 6, 7, 3)), features((3, 6, 7))
    batch = tidr.denoise(images, METHODS[name], **guide, demodulate=True).numpy()
    for k, image in enumerate(images):
        alone = tidr.denoise(image, METHODS[name], **{key: f[k] for key, f in guide.items()}, demodulate=True)
        np.testing.assert_array_equal(batch[k], alone.numpy())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
def test_tiny_pictures(name, size, backend):
    method = METHODS[name]
    image = Parameter(np.random.default_rng(11).uniform(size=(*size, 3)))
    guide = {key: Parameter(value) for key, value in features(size).items()}
    out = tidr.denoise(image, method, **guide)
    gradients = tape_gradients(lambda: weighted(tidr.denoise(image, method, **guide), 1.0), [image, *guide.values()])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    if size == (1, 1):
        np.testing.assert_allclose(out.numpy(), image.numpy(), rtol=1e-6)
        np.testing.assert_allclose(gradients[0], 1.0, rtol=1e-6)
        assert not any(gradient.any() for gradient in gradients[1:])


def test_an_image_and_its_channels(f32):
    rgb, guide = Array.of(np.random.default_rng(12).uniform(size=(6, 7, 3))), features((6, 7))
    normal, depth = Array.of(guide["normal"]), Array.of(guide["depth"])
    image = tidr.Image({"rgb": lambda: rgb, "normal": lambda: normal, "depth": lambda: depth})
    out = tidr.denoise(image, normal=image.normal, depth=image.depth).numpy()
    plain = tidr.denoise(rgb.numpy(), normal=guide["normal"], depth=guide["depth"][..., 0])
    np.testing.assert_array_equal(out, plain.numpy())


def test_bad_input_is_refused(f32):
    image, good = np.ones((4, 5, 3)), features((4, 5))
    for bad in (np.ones((4, 5)), np.ones((4, 5, 4)), np.ones((0, 5, 3)), np.ones((1, 1, 4, 5, 3)), "picture.png"):
        with pytest.raises(SceneError, match=r"denoise\.image.*\[H, W, 3\]"):
            tidr.denoise(bad)
    broken = image.copy()
    broken[1, 2, 0] = np.nan
    with pytest.raises(SceneError, match=r"denoise\.image.*NaN"):
        tidr.denoise(broken)
    for name, feature in good.items():
        with pytest.raises(SceneError, match=rf"denoise\.{name}.*shape"):
            tidr.denoise(image, **{name: feature[:, :-1]})
        with pytest.raises(SceneError, match=rf"denoise\.{name}.*shape"):
            tidr.denoise(image, **{name: Array.of(feature[:-1])})
        with pytest.raises(SceneError, match=rf"denoise\.{name}.*NaN"):
            tidr.denoise(image, **{name: feature * np.inf})
    for options, message in (
        ({"method": "median"}, "atrous, nlm"),
        ({"demodulate": True}, "albedo"),
        ({"variance": image}, "variance"),
        ({"method": "nlm", "variance": image[:-1]}, r"variance.*shape"),
        ({"method": "nlm", "variance": -image}, r"variance.*negative"),
    ):
        with pytest.raises(SceneError, match=message):
            tidr.denoise(image, **options)
    for kind, name, value in (
        (tidr.ATrous, "levels", 0),
        (tidr.ATrous, "sigma_color", 0.0),
        (tidr.ATrous, "sigma_depth", -1.0),
        (tidr.NonLocalMeans, "window", 4),
        (tidr.NonLocalMeans, "patch", 0),
        (tidr.NonLocalMeans, "k", float("nan")),
    ):
        with pytest.raises(SceneError, match=name):
            kind(**{name: value})
