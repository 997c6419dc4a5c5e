"""What a fit does, for TensorBoard: scalars, pictures and meshes (extra "tensorboard"; TensorFlow is not needed)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.mesh import metadata
    from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto
except ImportError as error:
    raise ImportError("tidr.tensorboard needs TensorBoard: pip install 'tidr[tensorboard]'") from error

from .files.srgb import linear_to_srgb
from .fitting.loop import Watcher
from .renderers.renderer import Image, Renderer, render
from .scene.camera import Camera
from .scene.graph import Scene
from .scene.outline import Outline, outlines

SHOWN = 4  # cameras of the scene that are drawn where none are named


class TensorBoard(Watcher):
    """A watcher: loss and PSNR of every step; every so many steps pictures, and meshes, point clouds and Gaussians.

    `tidr.fit(..., watcher=TensorBoard("logs", scene))`, then `tensorboard --logdir logs`. Colours of vertices and
    points go along. Geometry stands in world space.

    Args:
        folder: made where it is missing; each fit writes a new file.
        cameras: of the pictures; the scene's first 4 when None.
        every: steps between pictures; they are also written before the first step and after the last.
        size: width and height of pictures; the camera's own when None.
        inner: another watcher, which hears the same.
    """

    def __init__(
        self, folder: str | Path, scene: Scene, *, cameras: Sequence[str | Camera] | None = None,
        renderer: str | Renderer = "auto", every: int = 100, size: tuple[int, int] | None = None,
        inner: Watcher | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.scene, self.renderer, self.inner = Path(folder), scene, renderer, inner or Watcher()
        chosen = list(scene.cameras)[:SHOWN] if cameras is None else cameras
        self.cameras = {one if isinstance(one, str) else f"camera_{k}": one for k, one in enumerate(chosen)}
        self.every, self.size = max(every, 1), size or (None, None)
        self._writer: EventFileWriter | None = None
        self._at = self._seen = -1

    def start(self, done: int, total: int) -> None:
        self.inner.start(done, total)
        self._writer = EventFileWriter(str(self.folder))
        self._at = done
        self.look(done)

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        self._at = step
        self.scalar("loss", loss, step)
        if psnr is not None:
            self.scalar("psnr", psnr, step)
        if step % self.every == 0:
            self.look(step)
        self.inner.step(step, loss, psnr)

    def say(self, text: str) -> None:
        self.inner.say(text)

    def stop(self) -> None:
        if self._seen != self._at:
            self.look(self._at)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.inner.stop()

    def linger(self) -> None:
        self.inner.linger()

    def look(self, step: int) -> None:
        """Write pictures and geometry as they are now."""
        self._seen = step
        for name, camera in self.cameras.items():
            self.picture(f"camera/{name}", render(self.scene, camera, self.renderer, *self.size), step)
        for outline in outlines(self.scene):
            self.mesh(outline, step)

    def scalar(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self._write([Summary.Value(tag=name, simple_value=value)], step)

    def picture(self, name: str, image: Image, step: int) -> None:
        height, width = image.rgb.shape[-3:-1]
        held = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=image._repr_png_())
        self._write([Summary.Value(tag=name, image=held)], step)

    def mesh(self, outline: Outline, step: int) -> None:
        name, faces, colors = f"node/{outline.name}", outline.faces, outline.colors
        parts: list[tuple[Any, np.ndarray]] = [(MeshPluginData.VERTEX, outline.positions.astype(np.float32))]
        parts += [(MeshPluginData.FACE, faces.astype(np.int32))] if len(faces) else []
        if colors is not None:
            parts.append((MeshPluginData.COLOR, np.rint(linear_to_srgb(colors) * 255).astype(np.uint8)))
        components = metadata.get_components_bitmask([kind for kind, _ in parts])
        values = []
        for kind, array in parts:
            about = metadata.create_summary_metadata(name, name, kind, components, [1, *array.shape], json_config="{}")
            tag = metadata.get_instance_name(name, kind)
            values.append(Summary.Value(tag=tag, tensor=make_tensor_proto(array[None]), metadata=about))
        self._write(values, step)

    def _write(self, values: list[Summary.Value], step: int) -> None:
        if self._writer is not None:
            self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
