"""What one node contributes to a volume render: the protocol between `VolumeRenderer` and each kind of volume.

A maker takes (settings, scene, node, world, local): the renderer, the scene, the node, the rays in the world and the
same rays in the node's object space. Their parameter t is the distance in the world in both. It returns a `Layer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidr.array import Array
from tidr.scene.graph import Node, Scene

if TYPE_CHECKING:
    from .rays import Rays
    from .volume import VolumeRenderer


@dataclass(frozen=True)
class Layer:
    """One volume along n rays, without background; recorded on the open tape. 0 along rays that miss it.

    rgb [n, 3] is sum of w_k c_k over the samples, alpha [n, 1] sum of w_k, distance [n, 1] sum of w_k t_k with
    w_k = T_k (1 - exp(-sigma_k delta_k)). Where there is one, spread [n, 1] is sum over j < k of w_j w_k (t_j - t_k)^2
    and normal makes sum of w_k n_k [n, 3] with unit normals n_k in the world. coarse is the layer of a coarser model of
    the same volume, which a fit may supervise as well.
    """

    rgb: Array
    alpha: Array
    distance: Array
    spread: Array | None = None
    normal: Callable[[], Array] | None = None
    coarse: Layer | None = None


LayerMaker = Callable[["VolumeRenderer", Scene, Node, "Rays", "Rays"], Layer]
