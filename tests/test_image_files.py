"""Pictures: sRGB and linear, bit depths and palettes, and round trips through every format."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tidr.errors import FileError
from tidr.files.guard import Limits
from tidr.files.image import (
    decode_image,
    encode_png,
    image_size,
    linear_to_srgb,
    read_image,
    read_texture,
    srgb_to_linear,
    write_image,
)

from .malformed.builders import exr, png

RNG = np.random.default_rng(0)


def saved(image: Image.Image, **options) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return decode_image(buffer.getvalue(), "x.png")


def test_srgb_curve():
    known = {0.0: 0.0, 0.04045: 0.0031308, 0.5: 0.21404114, 1.0: 1.0}
    for encoded, linear in known.items():
        assert np.isclose(srgb_to_linear(np.float64(encoded)), linear, atol=1e-6)
        assert np.isclose(linear_to_srgb(np.float64(linear)), encoded, atol=1e-5)
    values = np.linspace(-0.5, 2, 1001)
    assert np.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6)
    assert srgb_to_linear(np.float32([0.5])).dtype == np.float32


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_eight_bit_round_trip(tmp_path, suffix, channels):
    picture = RNG.random((5, 7, channels)).astype(np.float32)
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_image(first, picture)
    back = read_image(first)
    assert back.shape == (5, 7, max(channels, 3))
    assert back.dtype == np.float32
    assert np.abs(linear_to_srgb(back[..., :3]) - linear_to_srgb(picture[..., :3])).max() <= 0.5 / 255 + 1e-6
    assert channels < 4 or np.abs(back[..., 3] - picture[..., 3]).max() <= 0.5 / 255 + 1e-6
    write_image(second, back)
    assert np.array_equal(read_image(second), back)
    assert image_size(first) == (7, 5)


def test_row_0_is_on_top_and_values_are_clipped(tmp_path):
    picture = np.zeros((2, 3, 3))
    picture[0, 2] = [7, -3, 1]
    write_image(tmp_path / "a.png", picture)
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, 2].tolist() == [255, 0, 255]
    assert np.asarray(Image.open(tmp_path / "a.png"))[1].max() == 0


def test_jpeg_round_trip(tmp_path):
    picture = np.broadcast_to(np.linspace(0, 1, 32)[:, None, None], (32, 32, 3))
    write_image(tmp_path / "a.jpg", picture)
    assert np.abs(read_image(tmp_path / "a.jpg") - picture).max() < 0.03
    with pytest.raises(FileError, match="no alpha"):
        write_image(tmp_path / "b.jpg", np.zeros((2, 2, 4)))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_are_linear_and_exact(tmp_path, suffix):
    picture = RNG.normal(size=(3, 4, 4)).astype(np.float32)
    write_image(tmp_path / f"a{suffix}", picture)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), picture)
    assert image_size(tmp_path / f"a{suffix}") == (4, 3)
    write_image(tmp_path / f"b{suffix}", picture[..., 0])
    assert np.array_equal(read_image(tmp_path / f"b{suffix}"), np.repeat(picture[..., :1], 3, 2))
    write_image(tmp_path / f"a{suffix}", picture)
    np.savez(tmp_path / "c.npz", rgba=picture, depth=picture)
    assert np.array_equal(read_image(tmp_path / "c.npz"), picture)


@pytest.mark.row(172)
def test_pfm_is_linear_and_the_last_row_comes_first(tmp_path):
    picture = RNG.normal(size=(3, 5, 3)).astype(np.float32)
    write_image(tmp_path / "a.pfm", picture)
    assert np.array_equal(read_image(tmp_path / "a.pfm"), picture)
    head, pixels = b"PF\n5 3\n-1.0\n", picture[::-1].astype("<f4").tobytes()
    assert (tmp_path / "a.pfm").read_bytes() == head + pixels
    (tmp_path / "b.pfm").write_bytes(b"Pf 5 3 1.0\n" + picture[::-1, :, 0].astype(">f4").tobytes())
    assert np.array_equal(read_image(tmp_path / "b.pfm"), np.repeat(picture[..., :1], 3, 2))
    with pytest.raises(FileError, match="no alpha"):
        write_image(tmp_path / "c.pfm", np.ones((2, 2, 4)))


@pytest.mark.row(172)
def test_exr_is_linear_and_premultiplied(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="the extra tidr[exr] is not installed")
    picture = RNG.random((3, 5, 4)).astype(np.float32) * 4
    picture[..., 3] = RNG.random((3, 5)) * 0.9 + 0.1
    write_image(tmp_path / "a.exr", picture)
    assert np.allclose(read_image(tmp_path / "a.exr"), picture, rtol=1e-6)
    with openexr.File(str(tmp_path / "a.exr")) as file:
        stored = file.channels()["RGBA"].pixels
        assert np.allclose(stored[..., :3], picture[..., :3] * picture[..., 3:])
    write_image(tmp_path / "b.exr", picture[..., :3])
    assert np.array_equal(read_image(tmp_path / "b.exr"), picture[..., :3])
    write_image(tmp_path / "c.exr", picture[..., :1])
    assert np.array_equal(read_image(tmp_path / "c.exr")[..., 1], picture[..., 0])
    (tmp_path / "d.exr").write_bytes(exr(2, 3, value=0.25))
    assert read_image(tmp_path / "d.exr").tolist() == [[[0.25] * 3] * 2] * 3
    assert len(list(tmp_path.iterdir())) == 4


def test_exr_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(exr())
    for action in (read_image, lambda path: write_image(path, np.zeros((2, 2, 3)))):
        with pytest.raises(FileError, match=r"pip install tidr\[exr\]"):
            action(tmp_path / "a.exr")


def test_modes_of_png():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.allclose(saved(Image.fromarray(grey)), srgb_to_linear(grey / 255)[..., None], atol=1e-6)
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    assert np.allclose(saved(Image.fromarray(deep)), srgb_to_linear(deep / 65535)[..., None], atol=1e-6)
    palette = Image.fromarray(grey % 4).convert("L").convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert np.allclose(saved(palette)[0, 1], [1, 0, 0])
    clear = saved(palette, transparency=1)
    assert clear.shape[2] == 4
    assert clear[0, :3, 3].tolist() == [1, 0, 1]
    assert saved(Image.fromarray(grey > 100))[0, 0].tolist() == [0, 0, 0]
    both = saved(Image.fromarray(np.stack([grey, 255 - grey], 2), "LA"))
    assert np.allclose(both[..., 3], 1 - grey / 255, atol=1e-6)
    assert saved(Image.fromarray(grey), transparency=7)[0, 7, 3] == 0


def test_data_textures_are_not_srgb(tmp_path):
    data = RNG.integers(0, 256, (4, 4)) / 255
    (tmp_path / "a.png").write_bytes(encode_png(data[..., None], srgb=False))
    assert np.allclose(read_texture(tmp_path / "a.png", 1)[..., 0], data)
    assert np.allclose(read_texture(tmp_path / "a.png", 3), srgb_to_linear(data)[..., None], atol=1e-6)


def test_pixels_are_limited_by_the_user_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(png(20, 30))
    assert read_image(tmp_path / "a.png", Limits(pixels=600)).shape == (30, 20, 4)
    before = Image.MAX_IMAGE_PIXELS
    for limit in (599, 200):
        with pytest.raises(FileError, match="more than"):
            read_image(tmp_path / "a.png", Limits(pixels=limit))
    assert before == Image.MAX_IMAGE_PIXELS
    np.save(tmp_path / "a.npy", np.zeros((20, 30, 3)))
    with pytest.raises(FileError, match="more than"):
        read_image(tmp_path / "a.npy", Limits(pixels=599))


def test_what_is_no_picture_is_refused(tmp_path):
    for bad in (np.zeros((2, 2, 2)), np.zeros((0, 2, 3)), np.full((2, 2, 3), np.nan), np.zeros(3), np.array([[["a"]]])):
        for suffix in (".png", ".npy"):
            with pytest.raises(FileError):
                write_image(tmp_path / f"a{suffix}", bad)
    for suffix in (".gif", ".hdr", ""):
        with pytest.raises(FileError, match="unknown kind"):
            read_image(tmp_path / f"a{suffix}")
        with pytest.raises(FileError, match="unknown kind"):
            write_image(tmp_path / f"a{suffix}", np.zeros((2, 2, 3)))
    np.save(tmp_path / "b.npy", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(FileError, match="expected real numbers"):
        read_image(tmp_path / "b.npy")
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "GIF")
    (tmp_path / "c.png").write_bytes(buffer.getvalue())
    with pytest.raises(FileError, match="no PNG, JPEG or WebP"):
        read_image(tmp_path / "c.png")
    assert [path.name for path in sorted(Path(tmp_path).iterdir())] == ["b.npy", "c.png"]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_any_small_picture_survives_png(height, width, channels, seed):
    picture = np.random.default_rng(seed).random((height, width, channels)) * 1.5 - 0.25
    back = decode_image(encode_png(picture), "x.png")
    expected = linear_to_srgb(np.clip(picture[..., :3], 0, 1))
    assert np.abs(linear_to_srgb(back[..., : min(channels, 3)]) - expected).max() <= 0.5 / 255 + 1e-6
