"""The hybrid renderer: meshes, 3D Gaussians and volumes in one picture, each in front of and behind the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from tidr.array import Array
from tidr.errors import SceneError
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from . import background
from .hybrid_meshes import MeshLayer
from .hybrid_walk import Composed, Walk
from .points import PointRenderer
from .raster import Rasterizer
from .renderer import HYBRID, Image, kind_of
from .volume import VolumeRenderer
from .volume_compose import before, expected, unit


@dataclass(frozen=True, kw_only=True)
class HybridRenderer:
    """Draws meshes as `Rasterizer` does, Gaussians as `PointRenderer` ("gaussian3d") and volumes as `VolumeRenderer`,
    composed by their depth along every ray.

    A pixel's ray meets its splats near to far, each at its centre's depth along the camera axis, and marches through
    the volumes in between. At the distance of the meshes it takes their colour by their alpha, and goes on behind them
    for what is left at antialiased or soft silhouettes; last comes the environment or the film's background. Strata of
    a volume are those of its whole box, as without other things, cut where a splat or the meshes stand in them (Max
    1995, "Optical Models for Direct Volume Rendering"; Kerbl et al. 2023; Laine et al. 2020). A scene of one kind of
    thing looks as its own renderer draws it, except that an antialiased silhouette takes of an environment what its own
    pixel sees.

    edges, cull_back, sigma, gamma, depth_range, faces_per_pixel: see `Rasterizer`; edges="dibr" has no fade here.
    steps, jitter, seed, stop, light_steps, light_nodes, half: see `VolumeRenderer`; what is left of a ray counts for
        `stop` after splats and volumes alike.
    antialiased, dilation, alpha_skip, alpha_max, transmittance_stop, sigmas: see `PointRenderer`. What ends the splats
        of a pixel ends neither volumes nor meshes.

    Light: meshes are shaded by the scene's lights, media (volumes with albedo) scatter them once, as in their own
    renderers. Gaussians, and volumes with colours, shine by their own. Nothing casts a shadow on anything else.

    Channels: rgb, alpha (of all together), depth (along the camera axis) and distance (along the ray), both expected
    over what is hit and 0 where alpha is below 1e-6; normal (world, unit, of the sum over what is hit; a volume's is
    that of its density's slope); ids, the triangle of the meshes at the pixel whatever is before it, -1 where none is.

    Gradients reach what each of the three renderers differentiates: vertices, materials, lights, Gaussians, grids,
    transforms and cameras. The distances of splats and meshes inside a volume count, for they end one part of a
    stratum and begin the next.

    What this does not differentiate: which splats lie before the meshes and before each other, and all that the three
    renderers do not; see there. Where the silhouette of a mesh is antialiased before another one, both stand at the
    mean of their depths. Fields, voxels and point clouds are not drawn, nor volumes whose boxes overlap along a ray.
    """

    edges: str = "antialias"
    cull_back: bool = False
    sigma: float | None = None
    gamma: float = 1e-4
    depth_range: tuple[float, float] = (1.0, 100.0)
    faces_per_pixel: int | None = None
    steps: int = 128
    jitter: bool = False
    seed: int = 0
    stop: float = 1e-4
    light_steps: int = 32
    light_nodes: int = 48
    half: bool = False
    antialiased: bool = False
    dilation: float = 0.3
    alpha_skip: float = 1 / 255
    alpha_max: float = 0.99
    transmittance_stop: float = 1e-4
    sigmas: float = 3.33

    def __post_init__(self) -> None:
        for settings in (self.rasterizer, self.volumes, self.splats):
            settings()  # what it refuses is refused here

    def rasterizer(self) -> Rasterizer:
        """The settings of the meshes."""
        return Rasterizer(**self._shared(Rasterizer))

    def volumes(self) -> VolumeRenderer:
        """The settings of the volumes."""
        return VolumeRenderer(**self._shared(VolumeRenderer))

    def splats(self) -> PointRenderer:
        """The settings of the Gaussians."""
        names = ("antialiased", "dilation", "alpha_skip", "alpha_max", "transmittance_stop", "sigmas")
        return PointRenderer(splat="gaussian3d", **{name: getattr(self, name) for name in names})

    def _shared(self, kind: type) -> dict:
        return {one.name: getattr(self, one.name) for one in fields(kind) if hasattr(self, one.name)}

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`.

        Raises:
            SceneError: a node of a kind that is not drawn, or the boxes of two volumes overlap along a ray.
        """
        for node in scene.nodes.values():
            kind = kind_of(node.geometry)
            if node.geometry is not None and kind not in HYBRID:
                mend = f"it draws {', '.join(sorted(HYBRID))}"
                raise SceneError(f"nodes.{node.name}", f"is of kind {kind}, which no hybrid renderer draws", mend)
        return Image(Frame(self, scene, cameras, width, height).makers())


class Frame:
    """One render: the walk along its rays, and what is made of it when asked."""

    def __init__(
        self, settings: HybridRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.scene, self.shape = scene, (len(cameras), height, width)
        self.walk = Walk(settings, scene, cameras, width, height)
        self._colored: Composed | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        cosines = self.walk.rays.cosines
        return {
            "rgb": self.rgb,
            "alpha": lambda: self._shaped(self.colored.alpha),
            "depth": lambda: self._shaped(expected(self.colored.distance, self.colored.alpha, cosines)),
            "distance": lambda: self._shaped(expected(self.colored.distance, self.colored.alpha)),
            "normal": lambda: self._shaped(unit(self.walk.composed("normal").sums)),
            "ids": self.ids,
        }

    @property
    def colored(self) -> Composed:
        if self._colored is None:
            self._colored = self.walk.composed("color")
        return self._colored

    def rgb(self) -> Array:
        found, color = self.colored, background.constant_color(self.scene)
        image = found.sums if color is None else before(found.sums, found.alpha, color)
        rays = self.walk.rays
        return self._shaped(background.before_environment(self.scene, image, lambda: found.alpha, lambda: rays))

    def ids(self) -> Array:
        meshes = self.walk.meshes
        if isinstance(meshes, MeshLayer):
            return meshes.frame.ids()
        out = Array((*self.shape, 1), needs_grad=False)
        out.value.fill(-1.0)
        return out

    def _shaped(self, array: Array) -> Array:
        array.shape = (*self.shape, array.channels)
        return array
