"""Pictures: PNG and JPEG (sRGB), EXR, PFM, .npy and .npz (linear). In memory they are linear f32, row 0 on top."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .arrays import read_arrays, write_arrays
from .exr import read_exr, write_exr
from .guard import DEFAULT, Limits, at, check_file, read_bytes
from .pfm import read_pfm, write_pfm
from .srgb import linear_to_srgb, srgb_to_linear
from .write import write_bytes

BYTES = (".png", ".jpg", ".jpeg", ".webp")  # kinds of few bits a channel, which Pillow reads
SUFFIXES = (*BYTES, ".exr", ".pfm", ".npy", ".npz")
PICTURE_NAMES = ("image", "rgba", "rgb")  # which array of an .npz is the picture

__all__ = ["decode_image", "encode_png", "image_size", "linear_to_srgb", "read_image", "read_texture", "resize"]
__all__ += ["srgb_to_linear", "write_image"]


def read_image(path: str | Path, limits: Limits = DEFAULT) -> np.ndarray:
    """A picture [H, W, 3 or 4] f32, linear RGB and straight alpha.

    PNG, JPEG and WebP are decoded from sRGB (8 bits per channel, grey also 16; of several frames the first; colour
    profiles, gamma chunks and EXIF orientation are not applied). EXR, which stores premultiplied colour, is divided by
    its alpha. Arrays are taken as they are: [H, W], [H, W, 1, 3 or 4] real numbers; in an .npz the only one, or the one
    named image, rgba or rgb.

    Raises:
        FileError: missing, cut off, more than `limits.pixels`, not finite, or of an unknown kind.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise FileError(path, f"unknown kind of picture {path.suffix!r}", "use one of " + " ".join(SUFFIXES))
    if path.suffix.lower() in BYTES:
        return decode_image(read_bytes(path, limits), str(path), limits)
    if path.suffix.lower() == ".exr":
        picture = read_exr(check_file(path, limits), limits)
    elif path.suffix.lower() == ".pfm":
        picture = read_pfm(path, limits)
    else:
        picture = _from_arrays(path, limits)
    return _checked(path, picture).astype(np.float32, copy=False)


def read_texture(path: str | Path, channels: int, limits: Limits = DEFAULT, data: bool = False) -> np.ndarray:
    """A texture [H, W, channels] f32: with 3 channels a linear colour, with 1 or as `data` plain, never sRGB."""
    path = Path(path)
    if (channels == 1 or data) and path.suffix.lower() in BYTES:
        return decode_image(read_bytes(path, limits), str(path), limits, srgb=False)[..., :channels]
    return read_image(path, limits)[..., :channels]


def write_image(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture [H, W] or [H, W, 1, 3 or 4], linear with straight alpha; the suffix chooses the format.

    PNG, JPEG and WebP are encoded to sRGB bytes, clipped to [0, 1] and rounded, WebP without loss; JPEG and PFM have no
    alpha. EXR is written with colour premultiplied, as its readers expect. The file appears whole or not at all.
    """
    path = Path(path)
    picture = np.asarray(picture)
    picture = _checked(path, picture[..., None] if picture.ndim == 2 else picture)
    kind = path.suffix.lower()
    if kind == ".png":
        write_bytes(path, encode_png(picture))
    elif kind in (".jpg", ".jpeg"):
        if picture.shape[2] == 4:
            raise FileError(path, "JPEG has no alpha channel", "write a PNG, or only the first three channels")
        write_bytes(path, _encode(picture, "JPEG", True, quality=95, subsampling=0))
    elif kind == ".webp":
        write_bytes(path, _encode(picture, "WEBP", True, lossless=True, exact=True, quality=100, method=6))
    elif kind == ".exr":
        write_exr(path, picture)
    elif kind == ".pfm":
        write_pfm(path, picture)
    elif kind in (".npy", ".npz"):
        write_arrays(path, image=picture.astype(np.float32))
    else:
        raise FileError(path, f"unknown kind of picture {path.suffix!r}", "use one of " + " ".join(SUFFIXES))


def decode_image(data: bytes, where: str, limits: Limits = DEFAULT, srgb: bool = True) -> np.ndarray:
    """A PNG, JPEG or WebP in memory as [H, W, 3 or 4] f32; srgb=False: values are only divided by their maximum."""
    with _opened(data, where, limits) as image:
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.float32) / 65535
            picture = np.repeat(values[..., None], 3, axis=2)
        else:
            alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
            converted = np.asarray(image.convert("RGBA" if alpha else "RGB"))
            if srgb:
                # 256 values: look them up instead of raising every pixel to a power.
                levels = np.arange(256, dtype=np.float32) / 255
                picture = srgb_to_linear(levels).astype(np.float32)[converted]
                if alpha:
                    picture[..., 3] = levels[converted[..., 3]]
                return picture
            return converted.astype(np.float32) / 255
    return srgb_to_linear(picture).astype(np.float32) if srgb else picture


def encode_png(picture: np.ndarray, srgb: bool = True) -> bytes:
    """The bytes of a PNG of a linear picture [H, W, 1, 3 or 4]; srgb=False stores the values as they are."""
    return _encode(picture, "PNG", srgb)


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A linear picture [H, W, 3 or 4] at another size: means over new pixels, colours weighed by alpha."""
    opaque = picture.shape[2] == 3
    alpha = np.ones_like(picture[..., :1]) if opaque else picture[..., 3:]
    mixed = np.concatenate([picture[..., :3] * alpha, alpha], -1)
    mixed = np.einsum("rh,hwc->rwc", _shares(picture.shape[0], height), mixed, optimize=True)
    mixed = np.einsum("cw,rwk->rck", _shares(picture.shape[1], width), mixed, optimize=True).astype(np.float32)
    if opaque:
        return mixed[..., :3]
    return np.concatenate([mixed[..., :3] / np.where(mixed[..., 3:] > 0, mixed[..., 3:], 1), mixed[..., 3:]], -1)


def _shares(old: int, new: int) -> np.ndarray:
    """[new, old] part of each new pixel that each old one covers; rows sum to 1."""
    edges, cells = np.arange(new + 1) * (old / new), np.arange(old)
    low, high = edges[:-1, None], edges[1:, None]
    return np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None) * (new / old)


def image_size(path: str | Path, limits: Limits = DEFAULT) -> tuple[int, int]:
    """Width and height of a picture in pixels; of a PNG, JPEG or WebP only the header is read."""
    path = check_file(path, limits)
    if path.suffix.lower() in BYTES:
        with _opened(read_bytes(path, limits), str(path), limits, load=False) as image:
            return image.size
    picture = read_image(path, limits)
    return picture.shape[1], picture.shape[0]


@contextmanager
def _opened(data: bytes, where: str, limits: Limits, load: bool = True) -> Iterator:
    """A Pillow image of at most `limits.pixels`; whatever Pillow raises becomes a FileError."""
    from PIL import Image

    largest = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its own limit; ours is the user's, and firm.
            Image.MAX_IMAGE_PIXELS = limits.pixels
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                if load:
                    image.load()
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise FileError(where, f"has more than {limits.pixels} pixels", "raise Limits.pixels") from error
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on garbage
        what = (
            "is no PNG, JPEG or WebP"
            if isinstance(error, Image.UnidentifiedImageError)
            else f"cannot be decoded: {error}"
        )
        raise FileError(where, what, "is it cut off?") from error
    finally:
        Image.MAX_IMAGE_PIXELS = largest


def _encode(picture: np.ndarray, kind: str, srgb: bool, **options) -> bytes:
    from PIL import Image

    values = np.clip(np.asarray(picture, np.float64), 0, 1)
    if srgb:
        values = np.concatenate([linear_to_srgb(values[..., :3]), values[..., 3:]], axis=2)
    stored = np.rint(values * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(stored[..., 0] if stored.shape[2] == 1 else stored).save(buffer, kind, **options)
    return buffer.getvalue()


def _from_arrays(path: Path, limits: Limits) -> np.ndarray:
    arrays = read_arrays(path, limits)
    names = list(arrays) if len(arrays) == 1 else [name for name in PICTURE_NAMES if name in arrays]
    if not names:
        raise FileError(path, f"holds {', '.join(arrays)}", "name the picture image, rgba or rgb")
    picture, where = arrays[names[0]], at(path, names[0])
    if picture.dtype.kind != "f":
        raise FileError(where, f"has type {picture.dtype}, expected real numbers", "store linear colour as float32")
    picture = picture[..., None] if picture.ndim == 2 else picture
    if picture.ndim == 3 and picture.shape[0] * picture.shape[1] > limits.pixels:
        raise FileError(where, f"has more than {limits.pixels} pixels", "raise Limits.pixels")
    picture = _checked(where, picture)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _checked(where: object, picture: np.ndarray) -> np.ndarray:
    """The picture, once it is [H, W, 1, 3 or 4], not empty, and finite."""
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape:
        raise FileError(where, f"picture has shape {picture.shape}, expected [H, W, 1, 3 or 4]")
    if picture.dtype.kind not in "fiub":
        raise FileError(where, f"picture has type {picture.dtype}, expected numbers")
    if not np.isfinite(picture).all():
        row, column, channel = (int(index) for index in np.argwhere(~np.isfinite(picture))[0])
        raise FileError(at(where, f"pixel [{row}, {column}]"), f"channel {channel} is {picture[row, column, channel]}")
    return picture
