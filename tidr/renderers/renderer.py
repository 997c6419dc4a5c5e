"""What a renderer is, the image that it returns, and `render`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import combinations, product
from pathlib import Path
from typing import Protocol

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.errors import SceneError
from tidr.parameter import Parameter, nearest
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.material import Material

CHANNELS = ("rgb", "alpha", "depth", "normal", "uv", "barycentrics", "ids")


class Renderer(Protocol):
    """Draws a scene from some cameras; everything continuous that it writes is recorded on the open tape."""

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image: ...


class Image:
    """Channels on the device, [H, W, C], or [B, H, W, C] where several cameras were given; linear, row 0 on top.

    rgb (3), alpha (1), depth (1, along the camera axis, 0 where nothing is), normal (3, unit, world), uv (2),
    barycentrics (3), ids (packed triangle index, -1 where nothing is; a numpy array). Channels that the render did not
    need are made when first asked for, on the tape that is open then.
    """

    def __init__(self, makers: dict[str, Callable[[], Array]]) -> None:
        self._makers = makers
        self._made: dict[str, Array] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels that this image can make."""
        return tuple(self._makers)

    def channel(self, name: str) -> Array:
        """The named channel or vertex attribute."""
        if name not in self._made:
            if name not in self._makers:
                raise SceneError(f"image.{name}", "was not rendered", nearest(name, self._makers))
            self._made[name] = self._makers[name]()
        return self._made[name]

    @property
    def rgb(self) -> Array:
        return self.channel("rgb")

    @property
    def alpha(self) -> Array:
        return self.channel("alpha")

    @property
    def depth(self) -> Array:
        return self.channel("depth")

    @property
    def normal(self) -> Array:
        return self.channel("normal")

    @property
    def uv(self) -> Array:
        return self.channel("uv")

    @property
    def barycentrics(self) -> Array:
        return self.channel("barycentrics")

    @property
    def ids(self) -> np.ndarray:
        return self.channel("ids").numpy()[..., 0].astype(np.int64)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.rgb, dtype)

    def save(self, path: str | Path, alpha: bool = False) -> None:
        """Write rgb (with `alpha` also the mask) by the ending, see `write_image`; batches side by side."""
        from tidr.files.image import write_image

        picture = self.rgb.numpy()
        if alpha:
            mask = self.alpha.numpy()
            picture = np.concatenate([picture / np.maximum(mask, 1e-6), mask], -1)
        if picture.ndim == 4:
            picture = np.concatenate(list(picture), axis=1)
        write_image(Path(path), picture)

    def _repr_png_(self) -> bytes:
        import io

        from PIL import Image as Picture

        from tidr.files.image import linear_to_srgb

        rgb = self.rgb.numpy()
        rgb = np.concatenate(list(rgb), axis=1) if rgb.ndim == 4 else rgb
        stream = io.BytesIO()
        Picture.fromarray((linear_to_srgb(np.clip(rgb, 0, 1)) * 255 + 0.5).astype(np.uint8)).save(stream, "png")
        return stream.getvalue()


_RENDERERS: dict[str, str | type] = {
    "raster": "raster.Rasterizer",
    "volume": "volume.VolumeRenderer",
    "voxels": "voxels.VoxelRenderer",
    "level_set": "level_set.LevelSetRenderer",
    "neus": "neus.NeusRenderer",
    "points": "points.PointRenderer",
    "path": "path.PathTracer",
    "photons": "photons.PhotonMapper",
    "light_tracing": "light_tracing.LightTracer",
    "hybrid": "hybrid.HybridRenderer",
}
SUITED = {
    "Mesh": "raster",
    "Tetrahedra": "raster",
    "ParametricSurface": "raster",
    "Volume": "volume",
    "HashField": "volume",
    "FrequencyField": "volume",
    "VoxelGrid": "voxels",
    "NeusGrid": "neus",
    "PointCloud": "points",
    "Gaussians": "points",
}  # by the name of the geometry's class or of a base of it, so that nothing is imported to find out
HYBRID = (
    "Mesh",
    "Tetrahedra",
    "ParametricSurface",
    "Volume",
    "Gaussians",
)  # drawn into one picture where a scene holds several of them
# Types of materials, and slots of any, that light transport draws, and a rasterizer does not or not fully.
TRANSPORTED = ("conductor", "dielectric", "thin_dielectric", "plastic", "principled", "blend")
FOLLOW_LIGHT = ("path", "photons", "light_tracing")
LUMINOUS = ("emission", "opacity")


def register_renderer(name: str) -> Callable[[type], type]:
    """Class decorator: makes a renderer known by name to `render`, scene files and the command."""

    def register(kind: type) -> type:
        _RENDERERS[name] = kind
        return kind

    return register


def known_renderers() -> tuple[str, ...]:
    """The short names of all renderers."""
    return tuple(_RENDERERS)


def suited(scene: Scene) -> str:
    """The short name of the renderer for what the scene holds; "raster" where it holds nothing.

    Meshes that shine, or whose materials only light transport draws, are for "path", with volumes or without, and so
    are volumes that scatter where their boxes overlap, unless a flash lights the scene, which it does not know; where
    the scene's fit names another renderer of light, that one. Meshes, Gaussians and volumes together are for "hybrid".

    Raises:
        SceneError: kinds of geometry that no one renderer draws.
    """
    held = {kind_of(node.geometry) for node in scene.nodes.values() if node.geometry is not None}
    names = sorted({SUITED[kind] for kind in held if kind in SUITED})
    if len(names) > 1 and not held <= set(HYBRID):
        raise SceneError("renderer", f"the scene holds {', '.join(sorted(held))}", f"choose one of {', '.join(names)}")
    transported = "raster" in names and any(_transported(material) for material in scene.materials.values())
    transported |= "volume" in names and _media_overlap(scene)
    flash = any(type(light).__name__ == "FlashLight" for light in scene.lights.values())
    if transported and not flash and "points" not in names:
        named = (scene.fit.renderer or {}).get("type") if scene.fit is not None else None
        return named if named in FOLLOW_LIGHT else "path"
    if len(names) > 1:
        return "hybrid"
    return names[0] if names else "raster"


def kind_of(geometry: object) -> str:
    """The name in SUITED of the geometry's class or of a base of it; else that of its class."""
    names = [kind.__name__ for kind in type(geometry).__mro__]
    return next((name for name in names if name in SUITED), names[0])


def _transported(material: Material) -> bool:
    return material.type in TRANSPORTED or any(slot in material.sources for slot in LUMINOUS)


def _media_overlap(scene: Scene) -> bool:
    """Whether boxes of volumes with an albedo share more than a face (by separating axes): densities that add up."""
    worlds, corners = scene.world_matrices(), []
    for node in scene.nodes.values():
        if node.geometry is not None and getattr(node.geometry, "albedo", None) is not None:
            points = np.array(list(product(*np.transpose(node.geometry.bounds()))))
            corners.append(points @ worlds[node.name][:3, :3].T + worlds[node.name][:3, 3])
    return any(_share(first, second) for first, second in combinations(corners, 2))


def _share(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two boxes of corners [8, 3], x slowest, share a part of space."""
    sides = [box[corner] - box[0] for box in (first, second) for corner in (1, 2, 4)]
    for axis in (np.cross(one, other) for one, other in combinations(sides, 2)):
        a, b = first @ axis, second @ axis
        if np.any(axis) and min(a.max(), b.max()) - max(a.min(), b.min()) <= 1e-6 * np.ptp(a):
            return False
    return True


def renderer_type(name: str, scene: Scene | None = None) -> type:
    """The renderer class of a short name; "auto" is what suits the scene."""
    if name == "auto":
        name = "raster" if scene is None else suited(scene)
    if name not in _RENDERERS:
        raise SceneError("renderer", f"unknown type {name!r}", nearest(name, _RENDERERS))
    kind = _RENDERERS[name]
    if isinstance(kind, str):
        module, attribute = kind.split(".")
        kind = getattr(import_module(f"tidr.renderers.{module}"), attribute)
    assert isinstance(kind, type)
    return kind


def render(
    scene: Scene,
    camera: str | Camera | Sequence[str | Camera] | None = None,
    renderer: str | Renderer = "auto",
    width: int | None = None,
    height: int | None = None,
) -> Image:
    """Draw the scene.

    Args:
        camera: a camera's name, a Camera, or a sequence of these (one batch, one image [B, H, W, C]); the first of the
            scene when None.
        renderer: a short name or a configured renderer.
        width, height: pixels; the camera's own size when None.

    Raises:
        SceneError: no such camera or renderer, no camera at all, a batch of unequal sizes, or a scene that was made
            before Taichi was started again.
    """
    single = camera is None or isinstance(camera, str | Camera)
    chosen = [camera] if camera is None or isinstance(camera, str | Camera) else list(camera)
    cameras = [_camera(scene, each) for each in chosen]
    if not cameras:
        raise SceneError("camera", "the batch is empty", "give at least one camera")
    _refuse_stale("scene", scene.parameters())
    for each in cameras:
        _refuse_stale("camera", each.parameters())
    sizes = {(width or each.width, height or each.height) for each in cameras}
    if len(sizes) > 1:
        raise SceneError("camera", f"cameras of unequal sizes {sorted(sizes)}", "give width and height")
    size = sizes.pop()
    drawer = renderer_type(renderer, scene)() if isinstance(renderer, str) else renderer
    if not getattr(drawer, "follows_rays", False) and any(each.distortion is not None for each in cameras):
        from .lens import render_distorted

        image = render_distorted(drawer, scene, cameras, *size)
    else:
        image = drawer.render(scene, cameras, *size)
    return _unbatched(image) if single else image


def _refuse_stale(what: str, parameters: Mapping[str, Parameter]) -> None:
    """Raise where the first was allocated under an earlier start of Taichi, which took its memory along."""
    first = next(iter(parameters.values()), None)
    if first is not None and first.generation != runtime.generation():
        raise SceneError(what, "was made before Taichi was started again", "call tidr.init first, then make or load it")


def _camera(scene: Scene, camera: str | Camera | None) -> Camera:
    if isinstance(camera, Camera):
        return camera
    if camera is None:
        if not scene.cameras:
            raise SceneError("cameras", "the scene has none", "add one, or pass camera=tidr.Camera.look_at(...)")
        return next(iter(scene.cameras.values()))
    if camera not in scene.cameras:
        raise SceneError(f"cameras.{camera}", "no such camera", nearest(camera, scene.cameras))
    return scene.cameras[camera]


def _unbatched(image: Image) -> Image:
    """A batch of one without its first axis; the device arrays are the same."""

    def squeezed(make: Callable[[], Array]) -> Callable[[], Array]:
        def made() -> Array:
            array = make()
            array.shape = array.shape[1:]
            return array

        return made

    makers = {name: squeezed(make) for name, make in image._makers.items()}
    for made in image._made.values():
        made.shape = made.shape[1:]
    plain = Image(makers)
    plain._made = image._made
    return plain
