"""The run folder of a fit: losses, pictures, measures, the fitted scene, and how it was made."""

import io
import itertools
import json
import math
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tidr.files.image import linear_to_srgb, write_image
from tidr.files.scene_write import write_scene
from tidr.files.write import write_bytes
from tidr.renderers.renderer import Renderer, render
from tidr.scene.camera import Camera, orbit
from tidr.scene.graph import Scene
from tidr.scene.meter import Meter

from .. import runtime
from ..errors import FileError
from .losses import iou, psnr
from .start import centroid, nearest_point, pixel_ray
from .views import Views, behind

SHOWN = 6  # views in the pictures
FRAMES, FRAME_MS, LARGEST_FRAME = 24, 80, 256
LIGHT_SAMPLES = 128  # a pixel, at least, of pictures that are measured
SWING_DEGREES, STEEP_DEGREES = 30, 60


class RunFolder:
    """Everything that a fit writes but its checkpoints; each file appears whole, loss.csv grows by whole lines.

    Raises:
        FileError: the folder cannot be made or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(self.path, f"cannot be made: {error.strerror}", "choose another folder with -o") from error
        self._losses: io.TextIOWrapper | None = None

    def begin(self, columns: Sequence[str], rows: np.ndarray) -> None:
        """Start loss.csv with the rows of the steps already done, and note command and versions."""
        text = "\n".join([",".join(columns), *(_line(row) for row in rows)]) + "\n"
        write_bytes(self.path / "loss.csv", text.encode())
        self._losses = (self.path / "loss.csv").open("a")
        write_bytes(self.path / "command.txt", (shlex.join(sys.argv) + "\n").encode())
        write_bytes(self.path / "versions.json", _json(versions()))

    def add(self, row: Sequence[float]) -> None:
        """One line of loss.csv, on the disk's side of our buffer."""
        assert self._losses is not None
        try:
            self._losses.write(_line(row) + "\n")
            self._losses.flush()
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise FileError(self.path / "loss.csv", what, "free some space") from error

    def close(self) -> None:
        if self._losses is not None:
            self._losses.close()
            self._losses = None

    def pictures(self, name: str, images: Sequence[np.ndarray]) -> None:
        """Pictures [H, W, 3] side by side, at most three in a row."""
        write_image(self.path / f"{name}.png", grid(images))

    def finish(self, scene: Scene, renderer: Renderer, views: Views, metrics: dict) -> None:
        """The fitted scene, its measures and a turn around it; with matplotlib also the losses as a picture."""
        if not scene.cameras:  # a scene that can be rendered as it is
            for number, camera in enumerate(views.cameras[:SHOWN]):
                scene.add_camera(f"view_{number}", camera)
        write_scene(scene, self.path / "scene.toml")
        write_bytes(self.path / "metrics.json", _json(metrics))
        if not all(isinstance(camera, Meter) for camera in views.cameras):
            write_bytes(self.path / "turntable.gif", turntable(scene, renderer, views))
        if find_spec("matplotlib") is not None:
            from ..plots import losses

            losses(self.path).save(self.path / "loss.png")


def set_aside(path: Path) -> Path | None:
    """Rename the folder of an earlier run, so that nothing of it is lost; its new path, None if `path` holds no run.

    Raises:
        FileError: it cannot be renamed.
    """
    if not (path / "command.txt").is_file():
        return None
    path = path.resolve()
    names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    other = next(name for name in names if not name.exists())
    try:
        return path.rename(other)
    except OSError as error:
        what = f"holds another run and cannot be renamed: {error.strerror}"
        raise FileError(path, what, "choose another folder with -o, or go on with --resume") from error


def measure(scene: Scene, renderer: Renderer, views: Views, per_step: int) -> tuple[dict, list[np.ndarray]]:
    """PSNR (dB, of linear RGB clipped to 1 and of its sRGB) and mask IoU of each view, their means; SHOWN pictures."""
    each, shown, renderer = {}, [], _calm(renderer)
    for number, (rgb, alpha) in enumerate(draw(scene, renderer, views, per_step)):
        rgb, wanted = np.clip(rgb, 0, 1), np.clip(views.pictures([number])[0], 0, 1)
        each[views.names[number]] = {
            "psnr": psnr(rgb, wanted),
            "psnr_srgb": psnr(linear_to_srgb(rgb), linear_to_srgb(wanted)),
            "iou": iou(alpha, views.masks([number])[0][..., None]) if views.has_alpha else None,
        }
        shown += [rgb] if number < SHOWN else []
    means = {}
    for key in ("psnr", "psnr_srgb", "iou"):
        found = [one[key] for one in each.values() if one[key] is not None]
        means[key] = float(np.mean(found)) if found else None
    return {"mean": means, "views": each}, shown


def _calm(renderer: Any) -> Any:
    """One that follows light by random paths, with enough of them to show the scene and not their noise."""
    if {"samples", "roulette_depth"} <= getattr(renderer, "__dataclass_fields__", {}).keys():
        return replace(renderer, samples=max(renderer.samples, LIGHT_SAMPLES))
    return renderer


def draw(scene: Scene, renderer: Renderer, views: Views, per_step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """rgb [H, W, 3] over the views' background and alpha [H, W, 1] of every view, in the batches of the fit."""
    for first in range(0, len(views), per_step):
        chosen = range(first, min(first + per_step, len(views)))
        for (height, width), alike in itertools.groupby(chosen, lambda index: views.sizes[index]):
            with behind(scene, views.background, views.hides_environment):
                image = render(scene, [views.cameras[index] for index in alike], renderer, width, height)
                rgb, alpha = image.rgb.numpy(), image.alpha.numpy()  # some renderers look behind only now
            yield from zip(rgb, alpha, strict=True)


def turntable(scene: Scene, renderer: Renderer, views: Views) -> bytes:
    """An animated GIF: once around what the views look at, seen from their mean distance; meters see no picture.

    Where there is one view, from the side, it swings before what that sees: nothing says what is behind.
    """
    from PIL import Image

    seeing = [(camera, number) for number, camera in enumerate(views.cameras) if not isinstance(camera, Meter)]
    first, number = seeing[0]
    side = min(*views.sizes[number], LARGEST_FRAME)
    sizes = [views.sizes[number] for _, number in seeing]
    rays = [(one, (w / 2, h / 2), (h, w)) for (one, _), (h, w) in zip(seeing, sizes, strict=True)]
    centre = nearest_point([pixel_ray(*ray) for ray in rays])
    if views.has_alpha:
        masks = ((camera, views.masks([number])[0]) for camera, number in seeing)
        seen = [(camera, mask) for camera, mask in masks if mask.any()]
        found = nearest_point([pixel_ray(camera, centroid(mask), mask.shape) for camera, mask in seen])
        centre = centre if found is None else found
    if centre is None:  # the rays are parallel: where the first comes nearest to the origin
        start, way = pixel_ray(*rays[0])
        reach = -float(start @ way)
        centre = start + (reach if reach > 0.1 * np.linalg.norm(start) else 1.0) * way
    distances = [float(np.linalg.norm(camera.position.numpy() - centre)) for camera, _ in seeing]
    fov = math.degrees(2 * math.atan(first.height / 2 / float(first.focal.numpy()[1])))
    lens = {"fov_y_degrees": fov}
    radius = float(np.mean(distances))
    if first.kind == "orthographic":
        lens = {"height_world": first.height / float(first.focal.numpy()[1])}
        radius = max(radius, 2 * lens["height_world"])  # so that the lower rays begin above the ground
    lens |= {"width": side, "height": side}
    across, up, along = first.position.numpy() - centre
    elevation = math.degrees(math.atan2(up, math.hypot(across, along)))
    if len(seeing) > 1 or abs(elevation) > STEEP_DEGREES:
        cameras: list[Camera] = orbit(FRAMES, radius, centre, **lens)
    else:
        turns = math.degrees(math.atan2(across, along)) + SWING_DEGREES * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES)
        lens |= {"elevation_degrees": elevation}
        cameras = [orbit(1, radius, centre, start_degrees=turn, **lens)[0] for turn in turns]
    frames = []
    for camera in cameras:
        picture = linear_to_srgb(np.clip(render(scene, camera, renderer).rgb.numpy(), 0, 1))
        frames.append(Image.fromarray(np.rint(picture * 255).astype(np.uint8)))
    stream = io.BytesIO()
    frames[0].save(stream, "gif", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return stream.getvalue()


def grid(images: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures [H, W, 3] as one, at most three in a row, each in a cell of the largest one's size; black elsewhere."""
    across = min(3, len(images))
    height, width, channels = np.max([image.shape for image in images], axis=0)
    full = np.zeros((len(images) + -len(images) % across, height, width, channels), images[0].dtype)
    for cell, image in zip(full, images, strict=False):
        cell[: image.shape[0], : image.shape[1]] = image
    rows = full.reshape(-1, across, *full.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def versions() -> dict[str, object]:
    """What the fit ran on."""
    from importlib.metadata import version

    running = runtime.current()
    return {
        "tidr": version("tidr"),
        "taichi": version("taichi"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": running.arch,
        "precision": running.precision,
        "threads": running.threads,
        "seed": running.seed,
    }


def _line(row: Sequence[float]) -> str:
    return ",".join([str(int(row[0])), *(f"{value:.9g}" for value in row[1:])])


def _json(table: dict) -> bytes:
    return (json.dumps(_without_infinity(table), indent=1, allow_nan=False) + "\n").encode()


def _without_infinity(value):
    """JSON has no infinity (the PSNR of equal pictures): null stands for it."""
    if isinstance(value, dict):
        return {key: _without_infinity(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
