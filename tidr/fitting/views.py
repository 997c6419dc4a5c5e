"""The pictures that a scene is fitted to, with their cameras: whole views or random pixels at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidr.files.cameras import Frame
from tidr.files.depth import read_depth
from tidr.files.guard import DEFAULT, Limits
from tidr.files.image import read_image, resize
from tidr.files.view_sets import read_split
from tidr.kernels import image_batch as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from ..parameter import nearest
from .picture_store import keep
from .settings import FitSettings
from .tape import unrecorded

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Batch:
    """What one step of a fit is held against.

    Whole views: rgb [B, H, W, 3] over `background` and alpha [B, H, W, 1] of `cameras`. Random pixels: rgb [count, 3]
    and alpha [count, 1] of `pixels` [count * 3], each an index into `cameras`, a row and a column. sizes: (height,
    width) of each camera's picture. depth: [B, H, W, 1] of whole views, 0 where not known, where the views have depths.
    """

    cameras: Sequence[Camera]
    rgb: Array
    alpha: Array
    background: Colour
    sizes: Sequence[tuple[int, int]]
    pixels: Buffer | None = None
    depth: Array | None = None


class Views:
    """N views: cameras, pictures and names. The pictures lie on the device or, where they are too many, in a file.

    Args:
        cameras: N cameras. pictures: N pictures [H, W, 3 or 4], taken one by one, so that a generator need not hold
            them all; linear RGB and straight alpha (1 where there is none). They may differ in size, but batches of
            whole views cannot.
        background: linear RGB behind the pictures.
        names: for the report; numbers when None.
        hide_environment: the scene is drawn over `background` even where an environment light stands behind it; always
            so where a picture has alpha, since it shows nothing of what stands behind.
        depths: one map [H, W] for each view, along its camera's axis, 0 where not known; or None.
        memory: bytes of pictures that are kept on the device, 2 GiB when None.
        folder: where the file for more than that lies.

    Raises:
        SceneError: counts that do not fit together, pictures of another kind or not finite.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        pictures: Iterable[np.ndarray],
        background: Sequence[float] | None = (0.0, 0.0, 0.0),
        names: Sequence[str] | None = None,
        memory: int | None = None,
        folder: Path | None = None,
        hide_environment: bool = False,
        depths: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.cameras = list(cameras)
        self.names = list(names) if names is not None else [f"view_{n:03d}" for n in range(len(cameras))]
        red, green, blue = (float(value) for value in background or (0.0, 0.0, 0.0))
        self.background: Colour = (red, green, blue)
        self.has_alpha, self._hide = False, hide_environment
        self._digest = hashlib.sha256()
        self._store = keep(self._taken(pictures), memory, folder)
        self.sizes = self._store.sizes
        self._depths = [] if depths is None else [self._depth(number, one) for number, one in enumerate(depths)]
        self.digest = self._digest.hexdigest()
        self._batches: dict[tuple, tuple[Array, Array]] = {}
        self._pixels: dict[int, Buffer] = {}
        counts = np.array([height * width for height, width in self.sizes], np.float64)
        shares = np.rint(np.cumsum(counts) / counts.sum() * kernels.SHARES)
        self._shares, self._extents = _integers(shares), _integers(np.array(self.sizes).ravel())

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of all pictures.

        Raises:
            SceneError: they differ.
        """
        if len(set(self.sizes)) > 1:
            sizes = ", ".join(f"{width} x {height}" for height, width in sorted(set(self.sizes))[:4])
            mend = "set fit.resolution, or fit random pixels with fit.rays_per_step"
            raise SceneError("views", f"pictures of unequal sizes ({sizes}) in batches of whole views", mend)
        return self.sizes[0]

    @property
    def hides_environment(self) -> bool:
        """Whether a scene that is held against the pictures stands over `background` in place of its environment."""
        return self._hide or self.has_alpha

    def batch(self, indices: Sequence[int], background: Colour | None = None) -> Batch:
        """The chosen views over `background` (their own when None); two batches of one length share their memory."""
        count, (height, width) = len(indices), self.size
        rgb, alpha = self._arrays((count, height, width))
        with unrecorded():
            self._store.copy_views(indices, rgb, alpha)
        chosen = [self.cameras[index] for index in indices]
        behind, depth = self._over(background, rgb, alpha), self._stacked(indices) if self._depths else None
        return Batch(chosen, rgb, alpha, behind, [(height, width)] * count, depth=depth)

    def pixels(self, seed: int, step: int, count: int, background: Colour | None = None, first: int = 0) -> Batch:
        """`count` random pixels of all views, each equally likely, over `background` (their own when None).

        They depend on nothing but the arguments, so a resumed fit goes on as if it had not stopped. Two batches of one
        length share their memory. `first` leaves out so many that come before.
        """
        rgb, alpha = self._arrays((count,))
        pixels = self._pixels.setdefault(count, Buffer((count * 3,), "int"))
        tables = (self._shares.ndarray, self._extents.ndarray, pixels.ndarray)
        with unrecorded():
            kernels.choose_pixels(_short(seed), step, first, count, len(self), *tables)
            self._store.copy_pixels(count, pixels, self._extents, rgb, alpha)
        return Batch(self.cameras, rgb, alpha, self._over(background, rgb, alpha), self.sizes, pixels)

    def masks(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Alphas [H, W] of the chosen views."""
        return [self._store.picture(index)[1][..., 0] for index in indices]

    def pictures(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Linear RGB [H, W, 3] of the chosen views over their background."""
        return [self._store.picture(index)[0] for index in indices]

    def _arrays(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        if shape not in self._batches:
            self._batches[shape] = (Array((*shape, 3), needs_grad=False), Array((*shape, 1), needs_grad=False))
        return self._batches[shape]

    def _depth(self, number: int, depth: np.ndarray) -> Array:
        """One view's depths on the device."""
        if depth.shape != self.sizes[number]:
            (height, width), what = self.sizes[number], f"the depth has shape {depth.shape}"
            raise SceneError(self.names[number], what, f"give [{height}, {width}], as the picture")
        self._digest.update(np.asarray(depth, np.float32).tobytes())
        return Array.of(depth[..., None], needs_grad=False)

    def _stacked(self, indices: Sequence[int]) -> Array:
        """[B, H, W, 1] depths of the chosen views."""
        rows, depth = self._depths[0].rows, Array((len(indices), *self.size, 1), needs_grad=False)
        with unrecorded():
            for place, index in enumerate(indices):
                kernels.copy_block(rows, 1, self._depths[index].value, 0, depth.value, place * rows)
        return depth

    def _over(self, background: Colour | None, rgb: Array, alpha: Array) -> Colour:
        """Put another colour behind a batch; the one that is behind it then."""
        if background is not None:
            change = [new - old for new, old in zip(background, self.background, strict=True)]
            with unrecorded():
                kernels.add_background(rgb.rows, *change, alpha.value, rgb.value)
        rgb.touch()
        alpha.touch()
        return background or self.background

    def _taken(self, pictures: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each picture's colour over the background and its alpha, f32, on their way into the store."""
        behind, count = np.asarray(self.background, np.float32), 0
        for count, picture in enumerate(pictures, 1):
            if count > len(self.cameras):
                break
            colour, mask = _split(self.names[count - 1], picture)
            colour = colour * mask + (1 - mask) * behind
            self.has_alpha |= bool((mask < 1).any())
            self._digest.update(colour.tobytes())
            self._digest.update(mask.tobytes())
            yield colour, mask
        if not count or count != len(self.cameras):
            more = "more" if count > len(self.cameras) else f"{count}"
            raise SceneError("views", f"{len(self.cameras)} cameras and {more} pictures", "give one picture each")


def schedule(count: int, per_step: int, seed: int, step: int) -> list[int]:
    """Which of `count` views step number `step` sees: seeded permutations, one after the other, cut into batches.

    It depends on nothing but its arguments, so a resumed fit goes on as if it had not stopped.
    """
    per_step = min(per_step, count)
    first = step * per_step
    return [int(_permutation(count, seed, k // count)[k % count]) for k in range(first, first + per_step)]


def random_background(seed: int, step: int) -> Colour:
    """The colour behind step number `step` of a fit whose background is "random", each channel in [0, 1)."""
    red, green, blue = np.random.default_rng([seed, step, 1]).random(3)
    return float(red), float(green), float(blue)


@contextmanager
def behind(scene: Scene, background: Colour, hide_environment: bool = False) -> Iterator[None]:
    """Inside the block the scene is drawn over this colour, or over its environment unless that is hidden.

    Local shading is lit by an environment that is hidden all the same; light transport is not.
    """
    kept, lights, unseen = scene.film.background, scene.lights, scene.unseen
    if background != tuple(kept or (0.0, 0.0, 0.0)):
        scene.film.background = background
    if hide_environment:
        scene.unseen = scene.environment
        scene.lights = {name: light for name, light in lights.items() if light is not scene.environment}
    try:
        yield
    finally:
        scene.film.background, scene.lights, scene.unseen = kept, lights, unseen


def load_views(
    scene: Scene, settings: FitSettings, limits: Limits = DEFAULT, folder: Path | None = None
) -> tuple[Views, Views | None]:
    """(the views to fit to, those kept out) that the settings name, over the settings' background.

    Args:
        folder: where pictures that do not fit into memory are kept; the system's for temporary files when None.

    Raises:
        FileError: missing or malformed files. SceneError: no such camera, no view left.
    """
    background = scene.film.background if isinstance(settings.background, str) else settings.background

    def made(
        cameras: list[Camera], pictures: Iterable[np.ndarray], names: list[str], depths: list[np.ndarray] | None = None
    ) -> Views:
        resized = pictures if settings.resolution is None else (resize(one, *settings.resolution) for one in pictures)
        hide = settings.background != "film"
        return Views(cameras, resized, background, names, folder=folder, hide_environment=hide, depths=depths)

    def of_frames(frames: Sequence[Frame]) -> Views:
        cameras, pictures = [frame.camera() for frame in frames], (_picture(frame, limits) for frame in frames)
        return made(cameras, pictures, [frame.name for frame in frames])

    def of_targets(names: list[str]) -> Views:
        pictures = (read_image(settings.targets[name], limits) for name in names)
        if not settings.depths:
            return made([scene.cameras[name] for name in names], pictures, names)
        for name in names:
            if name not in settings.depths:
                raise SceneError("fit.depths", f"has none for {name!r}", "give one for every camera of fit.targets")
        depths = [read_depth(settings.depths[name], settings.metres_per_level, limits) for name in names]
        return made([scene.cameras[name] for name in names], pictures, names, depths)

    if settings.views:
        fitted, held = read_split(settings.views, limits, every=settings.hold_out)
        return of_frames(fitted.frames), of_frames(held.frames) if len(held) else None
    for name in settings.targets:
        if name not in scene.cameras:
            raise SceneError(f"fit.targets.{name}", "no such camera", nearest(name, scene.cameras))
    names = list(settings.targets)
    kept_out = [name for index, name in enumerate(names) if settings.hold_out and index % settings.hold_out == 0]
    if len(kept_out) == len(names):
        raise SceneError("fit.hold_out", f"is {settings.hold_out}: no view is left to fit to", "take 2 or more, or 0")
    fitted = of_targets([name for name in names if name not in kept_out])
    return fitted, of_targets(kept_out) if kept_out else None


def _picture(frame: Frame, limits: Limits) -> np.ndarray:
    colour, alpha = frame.load(limits)
    return colour if alpha is None else np.concatenate([colour, alpha], axis=-1)


def _split(name: str, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(colour [H, W, 3], alpha [H, W, 1])."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype.kind != "f" or not picture.size:
        what = f"picture has shape {picture.shape} of {picture.dtype}"
        raise SceneError(name, what, "give linear floats [H, W, 3], or [H, W, 4] with straight alpha")
    if not np.isfinite(picture).all():
        raise SceneError(name, "the picture holds numbers that are not finite")
    picture = picture.astype(np.float32)
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.ones_like(picture[..., :1])
    return picture[..., :3], alpha


def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _integers(values: np.ndarray) -> Buffer:
    buffer = Buffer((len(values),), "int")
    buffer.ndarray.from_numpy(values.astype(np.int32))
    return buffer


def _short(seed: int) -> int:
    """A seed of any size in 31 bits; a small one stays what it is."""
    return (seed ^ seed >> 31) & 0x7FFFFFFF
