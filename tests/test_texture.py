"""Texture look-ups: numpy twins, levels, wrapping, conservation, and gradients to texels, uv and footprint."""

import numpy as np
import pytest

from tidr import runtime
from tidr.buffer import Buffer
from tidr.kernels import texture

from .conftest import on_backends
from .test_shading import download, get_buffer, upload

WRAPS = {"repeat": texture.REPEAT, "clamp": texture.CLAMP, "mirror": texture.MIRROR}


class Device:
    """A texture on the device: texels, mip chain, table, and the gradient of each."""

    def __init__(self, texels: np.ndarray, wrap: str = "repeat", mipmaps: bool = True) -> None:
        self.height, self.width, self.channels = texels.shape
        self.wrap = WRAPS[wrap]
        layout = texture.mip_layout(self.height, self.width, mipmaps)
        self.levels, self.length = len(layout), texture.chain_length(layout)
        self._table = Buffer(layout.shape, "int")
        self._table.ndarray.from_numpy(layout)
        size = (self.height * self.width, self.channels)
        self._texels, self._texels_grad = Buffer(size), Buffer(size)
        self._chain, self._chain_grad = (Buffer((self.length, self.channels)) for _ in range(2))
        rows = texture.scratch_rows(3, self.length, self.channels)
        self._part = Buffer((rows, self.length * self.channels)) if runtime.on_cpu() else None
        self.set(texels)

    def set(self, texels: np.ndarray) -> None:
        real = np.float64 if runtime.current().precision == 64 else np.float32
        self._texels.ndarray.from_numpy(np.ascontiguousarray(texels, real).reshape(-1, self.channels))
        texture.build_mips(self._texels.ndarray, self._chain.ndarray, self._table.ndarray, self.levels)

    def level(self, index: int) -> np.ndarray:
        offset, width, height = self._table.ndarray.to_numpy()[index]
        rows = self._chain.ndarray.to_numpy()[offset : offset + width * height]
        return rows.reshape(height, width, self.channels).astype(float)

    def sample(self, n: int, column: str = "albedo", index: int = 0) -> np.ndarray:
        b = get_buffer(n)
        texture.sample(b, column, n, index, self._chain.ndarray, self._table.ndarray, self.levels, self.wrap)
        return download(getattr(b, column), n)

    def adjoint(self, n: int, upstream: np.ndarray, column: str = "albedo", index: int = 0) -> np.ndarray:
        """Gradient of the texels [H, W, C]; those of uv, uv_dx and uv_dy are left in the buffer."""
        b = get_buffer(n)
        b.clear_grads(n)
        upload(getattr(b, column).grad, upstream)
        self._chain_grad.ndarray.fill(0.0)
        self._texels_grad.ndarray.fill(0.0)
        texture.sample_adjoint(
            b, column, n, index, self._chain.ndarray, self._chain_grad.ndarray, self._table.ndarray, self.levels,
            self.wrap, self._part and self._part.ndarray,
        )  # fmt: skip
        texture.build_mips_adjoint(
            self._chain_grad.ndarray, self._table.ndarray, self.levels, self._texels_grad.ndarray
        )
        return self._texels_grad.ndarray.to_numpy().reshape(self.height, self.width, -1).astype(float)


def place(uv, dx=(0.0, 0.0), dy=(0.0, 0.0)) -> int:
    """Put look-ups into the buffer, all of material 0; returns their number."""
    uv = np.atleast_2d(np.asarray(uv, float))
    n, b = len(uv), get_buffer(len(uv))
    upload(b.uv, uv)
    upload(b.uv_dx, np.broadcast_to(np.asarray(dx, float), (n, 2)))
    upload(b.uv_dy, np.broadcast_to(np.asarray(dy, float), (n, 2)))
    upload(b.material, np.zeros(n, np.int32))
    return n


def index_of(i: np.ndarray, size: int, wrap: str) -> np.ndarray:
    if wrap == "clamp":
        return np.clip(i, 0, size - 1)
    if wrap == "repeat":
        return i % size
    return np.where(i % (2 * size) < size, i % (2 * size), 2 * size - 1 - i % (2 * size))


def bilinear(texels: np.ndarray, uv: np.ndarray, wrap: str) -> np.ndarray:
    """The numpy twin."""
    height, width, _ = texels.shape
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - left)[:, None], (y - top)[:, None]
    x0, x1 = index_of(left, width, wrap), index_of(left + 1, width, wrap)
    y0, y1 = index_of(top, height, wrap), index_of(top + 1, height, wrap)
    upper = (1 - a) * texels[y0, x0] + a * texels[y0, x1]
    return (1 - b) * upper + b * ((1 - a) * texels[y1, x0] + a * texels[y1, x1])


def random_texels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape)


def tolerance(backend) -> float:
    return 1e-12 if backend.precision == 64 else 1e-4


@pytest.mark.parametrize(
    ("backend", "wrap", "shape"),
    on_backends(
        [(wrap, shape) for wrap in WRAPS for shape in ((5, 8, 3), (4, 4, 1), (1, 1, 3), (1, 6, 1))],
        [(wrap, (5, 8, 3)) for wrap in WRAPS],
    ),
    indirect=["backend"],
)
def test_bilinear_equals_the_numpy_twin(backend, wrap, shape):
    uv = np.random.default_rng(1).uniform(-2.5, 3.5, (300, 2))
    texels, column = random_texels(*shape), "albedo" if shape[2] == 3 else "roughness"
    n = place(uv)
    value = Device(texels, wrap, mipmaps=False).sample(n, column).reshape(n, -1)
    assert np.allclose(value, bilinear(texels, uv, wrap), atol=tolerance(backend))


def test_row_zero_is_on_top_and_centres_are_at_a_half(f64):
    texels = np.zeros((2, 3, 3))
    texels[0, 2] = [1, 2, 3]
    n = place([[5 / 6, 0.75], [5 / 6, 0.25], [1 / 6, 0.75]])
    value = Device(texels, "clamp", mipmaps=False).sample(n)
    assert np.allclose(value, [[1, 2, 3], [0, 0, 0], [0, 0, 0]], atol=1e-5)


def test_far_and_broken_coordinates_stay_inside(backend):
    uv = [[1e9, -1e9], [-1e30, 1e30], [np.inf, 0], [np.nan, np.nan]]
    n = place(uv, dx=(np.inf, 0), dy=(np.nan, 1e30))
    for wrap in WRAPS:
        device = Device(random_texels(4, 4, 3), wrap)
        device.sample(n)
        device.adjoint(n, np.ones((n, 3)))


def test_other_materials_are_left_alone(f64):
    n = place(np.full((4, 2), 0.5))
    b = get_buffer(n)
    upload(b.material, np.array([0, 1, 0, 1], np.int32))
    upload(b.albedo, np.full((n, 3), 7.0))
    device = Device(np.full((2, 2, 3), 0.5))
    assert device.sample(n, index=1)[:, 0].tolist() == [7, 0.5, 7, 0.5]
    assert device.adjoint(n, np.ones((n, 3)), index=1).sum() == pytest.approx(6)


# Mipmaps.


@pytest.mark.row(18)
@pytest.mark.parametrize("shape", [(8, 16, 3), (7, 5, 1), (3, 1, 3), (1, 1, 1)])
def test_every_level_keeps_the_mean(f64, shape):
    texels = random_texels(*shape)
    device = Device(texels)
    for index in range(device.levels):
        level = device.level(index)
        assert level.shape[:2] == (max(shape[0] >> index, 1), max(shape[1] >> index, 1))
        assert np.allclose(level.mean((0, 1)), texels.mean((0, 1)), atol=tolerance(f64))
    assert level.shape[:2] == (1, 1)


@pytest.mark.row(18)
def test_levels_are_box_means(backend):
    texels = random_texels(4, 8, 3)
    assert np.allclose(Device(texels).level(1), texels.reshape(2, 2, 4, 2, 3).mean((1, 3)), atol=tolerance(backend))
    row = np.array([1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 5, 1)
    halves = [(1 + 2 + 0.5 * 3) / 2.5, (0.5 * 3 + 4 + 5) / 2.5]
    assert np.allclose(Device(row).level(1).ravel(), halves, atol=1e-6)


@pytest.mark.row(18)
def test_level_is_log2_of_the_longer_axis(f64):
    # on level k the texture is constant k, so that a look-up returns the level itself
    device = Device(np.zeros((16, 32, 1)))
    table = device._table.ndarray.to_numpy()
    chain = np.concatenate([np.full((width * height, 1), k) for k, (_, width, height) in enumerate(table)])
    device._chain.ndarray.from_numpy(chain.astype(np.float64 if f64.precision == 64 else np.float32))
    angle, size = 0.7, np.array([32, 16])
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    cases = [
        ((4 / 32, 0), (0, 1 / 16), 2.0),
        ((1 / 32, 0), (0, 6 / 16), np.log2(6)),
        ((0.5 / 32, 0), (0, 0.5 / 16), 0.0),
        ((0, 0), (0, 0), 0.0),
        ((9.0, 0), (0, 1), 5.0),
        (5 * turned[0] / size, 2 * turned[1] / size, np.log2(5)),
        ((3 / 32, 0), (3 / 32, 0), np.log2(3 * np.sqrt(2))),
    ]
    for dx, dy, level in cases:
        assert device.sample(place([[0.4, 0.6]], dx, dy), "roughness")[0] == pytest.approx(level, abs=1e-4)


@pytest.mark.row(18)
def test_trilinear_mixes_two_levels(backend):
    device, uv = Device(random_texels(8, 8, 3), "mirror"), np.random.default_rng(3).uniform(-1, 2, (100, 2))
    n = place(uv, dx=(2**1.25 / 8, 0), dy=(0, 0.5 / 8))
    low, high = (bilinear(device.level(k), uv, "mirror") for k in (1, 2))
    assert np.allclose(device.sample(n), 0.75 * low + 0.25 * high, atol=tolerance(backend))


# Gradients.


@pytest.mark.row(18)
@pytest.mark.parametrize(
    ("backend", "wrap", "shape"),
    on_backends(
        [(wrap, shape) for wrap in WRAPS for shape in ((8, 8, 3), (7, 12, 1), (1, 1, 3))], [("mirror", (7, 12, 1))]
    ),
    indirect=["backend"],
)
def test_texel_gradient_sums_to_the_number_of_samples(backend, wrap, shape):
    rng = np.random.default_rng(5)
    n = place(rng.uniform(-1, 2, (500, 2)), rng.uniform(-0.2, 0.2, (500, 2)), rng.uniform(-0.2, 0.2, (500, 2)))
    column, upstream = ("albedo", np.ones((n, 3))) if shape[2] == 3 else ("roughness", np.ones(n))
    gradient = Device(np.full(shape, 0.5), wrap).adjoint(n, upstream, column)
    assert np.allclose(gradient.sum((0, 1)), n, rtol=1e-5)
    for name in ("uv", "uv_dx", "uv_dy"):
        assert np.allclose(download(getattr(get_buffer(n), name).grad, n), 0, atol=tolerance(backend))


@pytest.mark.row(18)
@pytest.mark.parametrize("mipmaps", [False, True], ids=["bilinear", "trilinear"])
@pytest.mark.parametrize("shape", [(8, 16, 3), (7, 5, 1)])
def test_texel_gradient_is_the_transpose_of_the_look_up(backend, mipmaps, shape):
    rng = np.random.default_rng(6)
    texels, direction = random_texels(*shape), rng.normal(size=shape)
    n = place(rng.uniform(-1, 2, (400, 2)), rng.uniform(-0.3, 0.3, (400, 2)), rng.uniform(-0.3, 0.3, (400, 2)))
    column, size = ("albedo", (n, 3)) if shape[2] == 3 else ("roughness", (n,))
    upstream, device = rng.normal(size=size), Device(texels, "repeat", mipmaps)
    exact = (device.adjoint(n, upstream, column) * direction).sum()
    again = (device.adjoint(n, upstream, column) * direction).sum()
    device.set(direction)  # a look-up is linear in the texels
    linear = (device.sample(n, column) * upstream).sum()
    assert exact == pytest.approx(linear, rel=1e-10 if backend.precision == 64 else 1e-3)
    if backend.arch == "cpu":
        assert exact == again


@pytest.mark.row(18)
@pytest.mark.parametrize(
    ("backend", "wrap", "mipmaps", "channels"),
    on_backends(
        [(wrap, mipmaps, channels) for wrap in WRAPS for mipmaps in (False, True) for channels in (3, 1)],
        [("mirror", True, 3)],
    ),
    indirect=["backend"],
)
def test_gradient_to_uv_and_footprint_equals_differences(backend, wrap, mipmaps, channels):
    rng = np.random.default_rng(7)
    n, height, width = 200, 8, 16
    starts = {"uv": rng.uniform(-1, 2, (n, 2))}
    starts |= {name: rng.uniform(-0.25, 0.25, (n, 2)) for name in ("uv_dx", "uv_dy")}
    column, size = ("albedo", (n, 3)) if channels == 3 else ("roughness", (n,))
    device, weights = Device(random_texels(height, width, channels), wrap, mipmaps), rng.uniform(0.5, 1.5, size)

    def value(**moved) -> np.ndarray:
        given = starts | moved
        place(given["uv"], given["uv_dx"], given["uv_dy"])
        return (device.sample(n, column) * weights).reshape(n, -1).sum(1)

    value()
    device.adjoint(n, weights, column)
    b = get_buffer(n)
    gradients = {name: download(getattr(b, name).grad, n) for name in starts}
    assert mipmaps or not (gradients["uv_dx"].any() or gradients["uv_dy"].any())
    for name, start in starts.items():
        if name != "uv" and not mipmaps:
            continue
        # steps within a texel; where the two one-sided slopes differ, a texel's centre or a level lies between
        step = 1e-7 if backend.precision == 64 else 1e-3
        for axis in np.eye(2):
            above, below, here = value(**{name: start + step * axis}), value(**{name: start - step * axis}), value()
            slope, exact = (above - below) / (2 * step), gradients[name] @ axis
            scale = np.maximum(np.abs(slope), 0.1 * np.abs(slope).max())
            kink = np.abs(above + below - 2 * here) / step > 0.04 * scale
            good = np.abs(exact - slope) <= (1e-5 if backend.precision == 64 else 3e-2) * scale
            assert kink.mean() < 0.2
            assert (good | kink).all(), name


@pytest.mark.row(18)
def test_clamped_level_has_no_footprint_gradient(backend):
    device = Device(random_texels(8, 8, 3))
    for extent in (0.5 / 8, 9.0):
        n = place([[0.3, 0.6]], (extent, 0), (0, extent))
        device.adjoint(n, np.ones((n, 3)))
        assert not download(get_buffer(n).uv_dx.grad, n).any()


def test_private_copies_are_fewer_for_big_textures():
    assert texture.scratch_rows(8, 1024, 3) == 8
    assert texture.scratch_rows(64, 4096 * 4096, 3) == 2
    assert texture.scratch_rows(64, 1 << 30, 3) == 1
