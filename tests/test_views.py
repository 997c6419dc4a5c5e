"""Pictures of a fit: on the device or streamed from a file, whole views or random pixels, over any background."""

import os
from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import FileError, SceneError
from tidr.files.image import read_image, resize, write_image
from tidr.fitting import picture_store
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.picture_store import DeviceStore, FileStore
from tidr.fitting.settings import FitSettings, checked
from tidr.fitting.views import Views, behind, load_views, random_background

from .fit_toys import toy_cameras, toy_pictures, toy_scene, toy_settings

SIZES = [(12, 16), (9, 7), (16, 12), (12, 16), (1, 5), (20, 20)]


def cameras(count: int) -> list[tidr.Camera]:
    return tidr.sphere_views(count, 4.0, fov_y_degrees=40, width=16, height=12)


def photos(sizes=SIZES, seed: int = 0) -> list[np.ndarray]:
    """8-bit photographs, some of them with alpha, and one of a high dynamic range."""
    rng, made = np.random.default_rng(seed), []
    for index, (height, width) in enumerate(sizes):
        stored = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        picture = picture_store._decode(stored)[..., : 3 + index % 2]
        made.append(picture * 7.5 if index == 3 else picture)
    return made


def both(**options) -> tuple[Views, Views]:
    """The same views on the device and in a file."""
    inside = Views(cameras(len(SIZES)), photos(), (0.1, 0.2, 0.3), **options)
    outside = Views(cameras(len(SIZES)), iter(photos()), (0.1, 0.2, 0.3), memory=3000, **options)
    assert isinstance(inside._store, DeviceStore)
    assert isinstance(outside._store, FileStore)
    return inside, outside


@pytest.mark.parametrize("start", ["f32", "f64", "vulkan"])
def test_streamed_views_are_the_same_to_the_last_bit(start, request):
    request.getfixturevalue(start)
    inside, outside = both()
    assert inside.digest == outside.digest
    assert inside.sizes == outside.sizes == SIZES
    for one, other in zip(inside.pictures(range(6)), outside.pictures(range(6)), strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(inside.masks(range(6)), outside.masks(range(6)), strict=True):
        assert np.array_equal(one, other)
    for step in range(3):
        one, other = inside.pixels(5, step, 300), outside.pixels(5, step, 300)
        assert one.pixels is not None
        assert other.pixels is not None
        assert np.array_equal(one.pixels.ndarray.to_numpy(), other.pixels.ndarray.to_numpy())
        assert np.array_equal(one.rgb.numpy(), other.rgb.numpy())
        assert np.array_equal(one.alpha.numpy(), other.alpha.numpy())
    equal = [photos([(12, 16)] * 4), cameras(4)]
    memory, file = Views(equal[1], equal[0]), Views(equal[1], equal[0], memory=1)
    assert np.array_equal(memory.batch([2, 0]).rgb.numpy(), file.batch([2, 0]).rgb.numpy())
    assert np.array_equal(memory.batch([1, 3]).alpha.numpy(), file.batch([1, 3]).alpha.numpy())


def test_photographs_take_four_bytes_a_pixel(f32):
    store = Views(cameras(2), photos([(12, 16), (12, 16)])[:1] * 2, memory=1)._store
    assert isinstance(store, FileStore)
    assert len(store._bytes) == 2 * 12 * 16 * 4


def test_the_file_of_streamed_views_has_no_name(f32, tmp_path):
    views = Views(cameras(6), photos(), memory=1, folder=tmp_path)
    assert not os.listdir(tmp_path)
    assert views.pixels(0, 0, 10).rgb.shape == (10, 3)
    with pytest.raises(FileError, match="cannot hold the pictures"):
        Views(cameras(6), photos(), memory=1, folder=tmp_path / "none")


def test_a_full_disk_is_told(f32, monkeypatch):
    class Full:
        def __init__(self, **options) -> None: ...

        def tell(self) -> int:
            return 0

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(picture_store.tempfile, "TemporaryFile", Full)
    with pytest.raises(FileError, match="No space left on device"):
        Views(cameras(6), photos(), memory=1)


def test_pixels_show_their_views(backend):
    pictures = photos()
    views = Views(cameras(6), pictures, (0.1, 0.2, 0.3))
    batch = views.pixels(3, 8, 500)
    assert batch.pixels is not None
    assert batch.cameras == views.cameras
    assert batch.sizes == SIZES
    assert batch.background == (0.1, 0.2, 0.3)
    view, row, column = batch.pixels.ndarray.to_numpy()[:1500].reshape(-1, 3).T
    for index, (v, r, c) in enumerate(zip(view, row, column, strict=True)):
        colour = pictures[v][r, c]
        alpha = colour[3] if len(colour) == 4 else 1.0
        want = colour[:3] * alpha + (1 - alpha) * np.array([0.1, 0.2, 0.3])
        np.testing.assert_allclose(batch.rgb.numpy()[index], want, atol=1e-6)
        np.testing.assert_allclose(batch.alpha.numpy()[index], alpha, atol=1e-6)


def test_every_pixel_is_equally_likely(f32):
    views = Views(cameras(6), photos())
    area = [height * width for height, width in SIZES]
    starts = np.cumsum([0, *area])
    counts = np.zeros(starts[-1])
    for step in range(8):
        found = views.pixels(1, step, 20_000).pixels
        assert found is not None
        view, row, column = found.ndarray.to_numpy().reshape(-1, 3).T
        flat = starts[view] + row * np.array(SIZES)[view, 1] + column
        counts += np.bincount(flat, minlength=starts[-1])
    expected = 160_000 / starts[-1]
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = starts[-1] - 1
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_pixels_depend_on_seed_and_step_alone(f32):
    views = Views(cameras(6), photos())

    def chosen(seed: int, step: int) -> np.ndarray:
        found = views.pixels(seed, step, 64).pixels
        assert found is not None
        return found.ndarray.to_numpy().copy()

    first = chosen(7, 100)
    assert not np.array_equal(first, chosen(7, 101))
    assert not np.array_equal(first, chosen(8, 100))
    assert not np.array_equal(first, chosen(2**40 + 7, 100))
    assert np.array_equal(first, chosen(7, 100))


def test_no_step_allocates(f32):
    pictures = photos([(12, 16)] * 4)
    for memory in (1 << 30, 1):
        views = Views(cameras(4), pictures, memory=memory)
        for step in range(2):
            views.pixels(0, step, 50, random_background(0, step))
            views.batch([step, 3], random_background(0, step))
        before = buffer.allocations
        for step in range(2, 6):
            views.pixels(0, step, 50, random_background(0, step))
            views.batch([1, 3], random_background(0, step))
        assert buffer.allocations == before


def test_batches_stand_over_the_background_asked_for(f64):
    pictures = toy_pictures()
    views = Views(toy_cameras(), pictures, (0.1, 0.2, 0.3))
    colour = random_background(4, 9)
    assert colour == random_background(4, 9) != random_background(4, 10)
    batch = views.batch([4, 1], colour)
    assert batch.background == colour
    want = np.stack([pictures[4], pictures[1]])
    over = want[..., :3] * want[..., 3:] + (1 - want[..., 3:]) * colour
    np.testing.assert_allclose(batch.rgb.numpy(), over, atol=2e-6)
    again = views.batch([4, 1])
    assert again.background == (0.1, 0.2, 0.3)
    over = want[..., :3] * want[..., 3:] + (1 - want[..., 3:]) * np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(again.rgb.numpy(), over, atol=2e-6)
    pixels = views.pixels(0, 0, 40, colour)
    assert pixels.pixels is not None
    view, row, column = pixels.pixels.ndarray.to_numpy()[:120].reshape(-1, 3).T
    picked = np.stack(pictures)[view, row, column]
    want = picked[:, :3] * picked[:, 3:] + (1 - picked[:, 3:]) * colour
    np.testing.assert_allclose(pixels.rgb.numpy(), want, atol=2e-6)


def test_a_scene_is_drawn_over_another_background_for_a_while(f32):
    scene = toy_scene()
    with behind(scene, (1.0, 0.0, 0.0)):
        assert tidr.render(scene, toy_cameras()[0]).rgb.numpy()[0, 0].tolist() == [1, 0, 0]
    assert tidr.render(scene, toy_cameras()[0]).rgb.numpy()[0, 0].tolist() == [0, 0, 0]


def test_unequal_sizes_need_pixels_or_a_resolution(f32, tmp_path):
    views = Views(cameras(6), photos())
    with pytest.raises(SceneError, match=r"unequal sizes \(5 x 1, 7 x 9, 16 x 12, 12 x 16\).*fit\.resolution"):
        views.batch([0, 1])
    settings = replace(toy_settings(tmp_path), hold_out=0)
    write_image(tmp_path / "view_1.png", resize(read_image(tmp_path / "view_1.png"), 16, 16))
    path, focal = tmp_path / "transforms.json", '"file_path": "view_1.png", "fl_x": 21.98, "fl_y": 21.98'
    path.write_text(path.read_text().replace('"w": 32, "h": 32, ', "").replace('"file_path": "view_1.png"', focal))
    fitted, held = load_views(toy_scene(), settings)
    assert held is None
    assert sorted(fitted.sizes)[0] == (16, 16)
    resized, _ = load_views(toy_scene(), replace(settings, resolution=(8, 4)))
    assert resized.size == (4, 8)
    assert resized.batch([0, 1]).rgb.shape == (2, 4, 8, 3)


def test_resizing_keeps_means_and_colours():
    rng = np.random.default_rng(0)
    picture = rng.random((12, 18, 3)).astype(np.float32)
    np.testing.assert_allclose(resize(picture, 6, 4), picture.reshape(4, 3, 6, 3, 3).mean((1, 3)), atol=1e-6)
    np.testing.assert_allclose(resize(picture, 18, 12), picture, atol=1e-7)
    np.testing.assert_allclose(resize(picture, 7, 5).mean((0, 1)), picture.mean((0, 1)), atol=1e-6)
    cut = np.concatenate([np.full((12, 18, 3), 0.5), rng.random((12, 18, 1)) > 0.5], -1).astype(np.float32)
    small = resize(cut, 6, 4)
    np.testing.assert_allclose(small[small[..., 3] > 0][:, :3], 0.5, atol=1e-6)


def test_a_fit_from_streamed_pictures_is_the_same_fit(f32, tmp_path, monkeypatch):
    settings = replace(toy_settings(tmp_path), steps=6)
    inside = fit_from_settings(toy_scene(), settings)
    monkeypatch.setattr(picture_store, "MEMORY", 1)
    outside = fit_from_settings(toy_scene(), settings)
    assert np.array_equal(inside.losses[:, :-1], outside.losses[:, :-1])
    assert inside.metrics["mean"] == outside.metrics["mean"]


def test_counts_are_checked_without_holding_all_pictures(f32):
    endless = (np.zeros((4, 4, 3), np.float32) for _ in iter(int, 1))
    with pytest.raises(SceneError, match="3 cameras and more pictures"):
        Views(cameras(3), endless)
    with pytest.raises(SceneError, match="3 cameras and 1 pictures"):
        Views(cameras(3), [np.zeros((4, 4, 3))])
    with pytest.raises(SceneError, match="view_001"):
        Views(cameras(2), [np.zeros((4, 4, 3)), np.zeros((0, 4, 3))])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rays_per_step": -1}, "fit.rays_per_step"),
        ({"background": "rondom"}, "did you mean 'random'"),
        ({"background": (-1.0, 0.0, 0.0)}, "fit.background"),
        ({"resolution": (0, 4)}, "fit.resolution"),
    ],
)
def test_settings_of_pictures_are_checked(changes, words):
    good = FitSettings(views="a.json", parameters={"a": tidr.ParameterSettings(lr=1.0)})
    checked(good)
    with pytest.raises(SceneError, match=words):
        checked(replace(good, **changes))
