"""The volume renderer: emission-absorption along rays, one march for each volume of the scene."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from tidr.array import Array
from tidr.errors import SceneError
from tidr.scene.graph import Node, Scene
from tidr.scene.volume import Volume

from . import volume_compose
from .rays import RayRenderer, Rays
from .volume_layers import Layer, LayerMaker

MAX_STEPS = 1 << 16
MAX_LIGHT_NODES = 512


@dataclass(frozen=True, kw_only=True)
class VolumeRenderer(RayRenderer):
    """Marches rays through the volumes and fields of a scene (Mildenhall et al. 2020, "NeRF"; Max 1995).

    The part of a ray inside a volume's box is cut into `steps` equal strata with one sample each; with opacities
    1 - exp(-density * stratum length) they are laid over each other from the front. Channels: rgb over what stands
    behind, alpha, depth (expected, along the camera axis) and distance (along the ray), both 0 where alpha is below
    1e-6, and normal (world, of the density's slope; `Volume` only).

    steps: samples per ray and volume. jitter: samples at random places of their strata instead of the middle, chosen
    by a hash of (seed, ray, sample). stop: a ray ends where its transmittance falls to this; at most so much of rgb is
    lost, and the gradient is that of the ended ray. skip: blocks of 4^3 cells whose density is nowhere above this are
    passed over; at 0 nothing changes but the time, None looks at every sample. Of a medium (a `Volume` with albedo),
    the optical depths to the lights are found at a grid of `light_nodes` nodes along its longest side, by
    `light_steps` samples each; see `volume_medium`. half: the grids are looked up in 16 bits, in half the memory: their
    numbers are rounded to 11 bits and end at 65504. All is still computed, and gradients kept, in full precision.

    Gradients reach every grid, the camera and the node's transform: the samples move with the ray and the box. They are
    computed by walking the ray again, so memory does not grow with `steps`.

    What this does not differentiate: the order of volumes along a ray, which cells are empty (with skip > 0), where a
    ray stops, and the normal channel's dependence on anything. Rays that graze a box's edge gain or lose the box in
    a jump only where the density does not vanish at its border.
    """

    steps: int = 128
    jitter: bool = False
    seed: int = 0
    stop: float = 1e-4
    skip: float | None = 0.0
    light_steps: int = 32
    light_nodes: int = 48
    half: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MAX_STEPS:
            raise SceneError("renderer.steps", f"is {self.steps}", f"give 1 to {MAX_STEPS}")
        if not 0 <= self.stop < 1:
            raise SceneError("renderer.stop", f"is {self.stop}", "give a transmittance, 0 <= stop < 1")
        if self.skip is not None and not 0 <= self.skip < np.inf:
            raise SceneError("renderer.skip", f"is {self.skip}", "give a density >= 0, or None")
        if not 1 <= self.light_steps <= MAX_STEPS:
            raise SceneError("renderer.light_steps", f"is {self.light_steps}", f"give 1 to {MAX_STEPS}")
        if not 2 <= self.light_nodes <= MAX_LIGHT_NODES:
            raise SceneError("renderer.light_nodes", f"is {self.light_nodes}", f"give 2 to {MAX_LIGHT_NODES}")

    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """Makers of the channels of world-space rays.

        Raises:
            SceneError: the boxes of two volumes overlap along a ray.
        """
        found = [(node, maker) for node in scene.ordered_nodes() if (maker := layer_maker(node)) is not None]
        if not found:
            return volume_compose.channels(scene, _nothing(rays), rays)
        nodes = [node for node, _ in found]
        locals_ = [rays.to_object(scene, node) for node in nodes]
        layers = [maker(self, scene, node, rays, local) for (node, maker), local in zip(found, locals_, strict=True)]
        layer = volume_compose.joined(nodes, layers, locals_)
        return volume_compose.channels(scene, layer, rays)


_FIELDS = {"HashField": "field_hash.hash_layer", "FrequencyField": "field_frequency.frequency_layer"}


def layer_maker(node: Node) -> LayerMaker | None:
    """What makes the layer of a node: by its geometry; None where that is no volume."""
    geometry = node.geometry
    if isinstance(geometry, Volume):
        place = "volume_grid.grid_layer" if geometry.albedo is None else "volume_medium.medium_layer"
    elif type(geometry).__name__ in _FIELDS:
        place = _FIELDS[type(geometry).__name__]
    else:
        return None
    module, name = place.split(".")
    return getattr(import_module(f"{__package__}.{module}"), name)


def _nothing(rays: Rays) -> Layer:
    rgb, alpha, distance = (Array((rays.count, channels)) for channels in (3, 1, 1))
    for array in (rgb, alpha, distance):
        array.value.fill(0.0)
    return Layer(rgb, alpha, distance)
