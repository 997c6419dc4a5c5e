"""The level-set renderer: the surface of a grid of distances or occupancies or of a field, met by rays and shaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidr.array import Array, constant
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels.implicit import level_set as kernels
from tidr.kernels.raster import blend as blend_kernels
from tidr.scene.field import FrequencyField, HashField
from tidr.scene.graph import Node, Scene
from tidr.scene.light import refuse_flash
from tidr.scene.voxels import KINDS, VoxelGrid

from . import background
from . import implicit_field as fields
from .implicit_network import FrequencyNetwork, HashNetwork
from .point_surface import PointSurface
from .rays import RayRenderer, Rays, world_to_object
from .shading import Shading, unit_normals

SEARCHES = ("sphere", "uniform")
DIFFERENTIATIONS = ("exact", "sdfdiff")


@dataclass(frozen=True, kw_only=True)
class LevelSetRenderer(RayRenderer):
    """Draws the zero level of one voxel grid, the level 1/2 of occupancies, or the surface of one `HashField` or
    `FrequencyField`, under the scene's lights and materials.

    search: "sphere" steps as far as the distance says (Jiang et al. 2020, SDFDiff; Yariv et al. 2020, IDR), at least a
        tenth of a cell; "uniform" takes equal steps inside the box (Niemeyer et al. 2020, DVR). Either way the first
        change from outside to inside is then found to the last bit. None is "sphere" for distances, else "uniform".
    steps: along a ray, at most ("sphere") or exactly ("uniform", "min_sdf"); of a field, along the box's diagonal.
    level: of a field, the density of its surface; None is that of which a fiftieth of the box's diagonal lets half the
        light through, as in `mesh_of`.
    differentiation: of the hit's distance: "exact" by the implicit function theorem, "sdfdiff" through the last step.
    grazing: |grad f . d| below this part of |grad f| |d| counts as much, so that grazing rays do not explode.
    lit: False shows the grid's or field's colour as it is.
    seed: of the random places of the channel "probe".

    Channels: rgb, alpha (1 where a ray hits), depth, distance, normal; min_sdf, the smallest f along the ray (f is the
    signed distance, or 1/2 - occupancy; the box's diagonal for rays beside the box); probe, f at the hit, or at a
    random place on a ray that has none. Normals are central differences at cell centres, interpolated.

    A field's f is the number that its network says of density before the activation, subtracted from that of the
    surface; its normals are central differences at the hit, over 1/256 of the box's diagonal. A fit changes the fine
    network of a `FrequencyField` ("thing.fine"); the coarse one is not looked at.

    The colour of a grid or field is the albedo where the node has no material, or one whose slot is "vertex_colors".

    What this does not differentiate: which rays hit, so that silhouettes move only by a loss on min_sdf or probe
    (`ray_mask` and `free_space` in tidr/fitting/implicit_losses.py). Of a field, min_sdf is the least of the samples,
    each at a fixed distance (object units) from its ray's origin. "sdfdiff" is right only where rays meet the
    surface at a right angle. Shadows and reflections are not drawn. Where the box cuts the solid is no surface.
    """

    search: str | None = None
    steps: int = 512
    level: float | None = None
    differentiation: str = "exact"
    grazing: float = 1e-3
    lit: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("search", self.search or "sphere", SEARCHES),
            ("differentiation", self.differentiation, DIFFERENTIATIONS),
        ):
            if value not in choices:
                raise SceneError(f"renderer.{name}", f"is {value!r}", f"choose one of {', '.join(choices)}")
        if not 1 <= self.steps <= 1 << 16:
            raise SceneError("renderer.steps", f"is {self.steps}", "give 1 to 65536")
        if not 0 < self.grazing < 1:
            raise SceneError("renderer.grazing", f"is {self.grazing}", "give a number between 0 and 1")

    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for every channel, of the scene's one voxel grid or field."""
        kinds = (VoxelGrid, HashField, FrequencyField)
        nodes = [node for node in scene.nodes.values() if isinstance(node.geometry, kinds)]
        if len(nodes) != 1:
            what = f"{len(nodes)} hold a voxel grid or field"
            raise SceneError("nodes", what, "the level-set renderer draws exactly one")
        return self.trace_node(scene, nodes[0], rays)

    def trace_node(self, scene: Scene, node: Node, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for every channel, of a node's voxel grid or field along world-space rays."""
        return LevelSetFrame(self, scene, node, rays).makers()


class LevelSetFrame:
    """One render: the hits are found at once, everything else when asked for."""

    def __init__(self, settings: LevelSetRenderer, scene: Scene, node: Node, rays: Rays) -> None:
        self.settings, self.scene, self.node, self.rays = settings, scene, node, rays
        self.field = _field_of(node, settings.level)
        self.local = rays.to_object(scene, node)
        with unrecorded():
            self.hits = self.field.find_hits(self.local, settings.search, settings.steps)
        self._made: dict[str, Any] = {}

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel that this frame can make."""
        return {
            "rgb": self.rgb,
            "alpha": self.alpha,
            "distance": lambda: self.to_rays(self.t),
            "depth": lambda: self.to_rays(fields.hit_depths(self.rays, self.hits, self.t)),
            "normal": lambda: self.to_rays(unit_normals(self.surface)),
            "min_sdf": lambda: self.shaped(self.field.lowest_on_rays(self.local, self.settings.steps)),
            "probe": lambda: self.shaped(self.field.probed_on_rays(self.local, self.hits, self.settings.seed)),
        }

    @property
    def t(self) -> Array:
        """[n, 1] distance of every hit."""
        mode = kernels.EXACT if self.settings.differentiation == "exact" else kernels.SDFDIFF
        return self._once("t", lambda: self.field.hit_distances(self.local, self.hits, mode, self.settings.grazing))

    @property
    def places(self) -> Array:
        """[n, 3] hits in object space."""
        return self._once("places", lambda: fields.hit_points(self.local, self.hits, self.t))

    @property
    def colors(self) -> Array | None:
        """[n, 3] the grid's or field's colour at the hits."""
        return self._once("colors", lambda: self.field.colors(self.places, self.local, self.hits))

    @property
    def surface(self) -> PointSurface:
        """The hits in the world."""
        count = self.hits.count
        points = self._once("points", lambda: fields.hit_points(self.rays, self.hits, self.t))
        views = self._once("views", lambda: fields.hit_views(self.rays, self.hits))
        normals = self._once("normals", lambda: self._normals(views))
        return PointSurface(self.scene, self.node, count, points, normals, views, self.colors)

    def _normals(self, views: Array) -> Array:
        gradients = self.field.gradients(self.places, self.hits.count)
        matrix = world_to_object(self.scene, self.node)
        return fields.world_normals(gradients, matrix, views, self.hits.count, self.field.sign)

    def rgb(self) -> Array:
        if self.settings.lit:
            refuse_flash(self.scene.lights)
        colors = Shading(self.scene, self.surface).colors() if self.settings.lit else self.colors
        if colors is None:
            raise SceneError(f"{self.node.name}.color", "is missing and lit is False", "give the grid a color")
        image = self.to_rays(colors, background.constant_color(self.scene))
        return background.before_environment(self.scene, image, self.alpha, lambda: self.rays)

    def alpha(self) -> Array:
        out = self.shaped(Array((self.rays.count, 1)))
        with unrecorded():
            blend_kernels.coverage(out.rows, self.hits.entry_of_ray.ndarray, out.value)
        return out

    def to_rays(self, values: Array, background=None) -> Array:
        """[..., C] of hits' values [n, C]; `background` (zeros when None) where a ray hits nothing."""
        out, order = self.shaped(Array((self.rays.count, values.channels))), self.hits.entry_of_ray.ndarray
        behind = constant([(0.0,) * values.channels if background is None else background])

        def forward() -> None:
            blend_kernels.values_to_pixels(out.rows, out.channels, order, values.value, behind.value, out.value)

        def backward() -> None:
            blend_kernels.values_to_pixels_adjoint(out.rows, out.channels, order, out.grad, values.grad)

        run(Operation(forward, backward, [values], [out], "to pixels"))
        return out

    def shaped(self, values: Array) -> Array:
        """The same rows under the image's shape."""
        values.shape = (*self.rays.shape, values.channels)
        return values

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def _field_of(node: Node, level: float | None) -> fields.GridField | HashNetwork | FrequencyNetwork:
    """The implicit function of what a node holds."""
    geometry = node.geometry
    if isinstance(geometry, HashField):
        return HashNetwork(geometry, level)
    if isinstance(geometry, FrequencyField):
        return FrequencyNetwork(geometry, level)
    if level is not None:
        raise SceneError("renderer.level", "was given for a voxel grid", "leave it out: it is of fields")
    return fields.GridField(fields.grid_of(node, KINDS))
