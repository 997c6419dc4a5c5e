"""One pass of photons from a scene's lights, with the paths that they came by. Nothing here is on the tape."""

import numpy as np

from tidr.array import Array, integers
from tidr.buffer import Buffer
from tidr.kernels.photons import aim, paths
from tidr.kernels.photons import trace as kernels
from tidr.scene.graph import Scene
from tidr.scene.material import blended

from .photon_grid import Photons
from .sorting import capacity, prefix_sum
from .transport_media import Media
from .transport_scene import TransportScene

FOCUSING = ("conductor", "dielectric", "thin_dielectric")


class Paths:
    """Room for what kernels/photons/paths.py writes down of `count` paths of up to `depth` vertices."""

    def __init__(self, count: int, depth: int) -> None:
        self.count, self.depth = count, depth
        self.origins, self.counts = Buffer((count, 3)), Buffer((count,), "int")
        self.wholes, self.reals = Buffer((depth * count, paths.WHOLES), "int"), Buffer((depth * count, paths.REALS))

    @property
    def arguments(self) -> tuple:
        """wholes, reals, counts, origins."""
        return self.wholes.ndarray, self.reals.ndarray, self.counts.ndarray, self.origins.ndarray


class Targets:
    """Spheres [S, 4] (centre, radius) around the nodes that mirror or refract, in world space."""

    def __init__(self, scene: Scene, transport: TransportScene) -> None:
        instances = [i for i in transport.world.pack.instances if focuses(scene, i.node.materials)]
        ranges = [(i.vertex, i.vertex + i.mesh.topology.vertex_count) for i in instances]
        self.count = len(ranges)
        self.spheres = Buffer((self.count, 4))
        if ranges:
            table = integers(np.array(ranges))
            aim.bounding_spheres(
                self.count, table.ndarray, transport.world.positions.value, self.spheres.ndarray
            )  # fmt: skip


def focuses(scene: Scene, materials) -> bool:
    """Whether one of these materials mirrors or refracts light, or is a blend with one that does."""
    known = [(name, scene.materials[name]) for name in materials if name in scene.materials]
    names = {part for name, each in known if each.type == "blend" for part in blended(name, scene.materials)}
    return any(each.type in FOCUSING for each in [*(each for _, each in known), *(scene.materials[n] for n in names)])


class Shot:
    """The photons of pass `number` of `emitted` photons, `aimed` of them towards the targets.

    photons: those that landed, in the order of their paths: `count` on surfaces, behind them those that media scatter,
    with g in place of a normal. `photons.flags` mark the former, `drifting` the latter. Memory is 40 bytes for each
    photon and each of `max_depth` vertices.
    """

    def __init__(
        self, transport: TransportScene, media: Media, targets: Targets, emitted: int, aimed: int, number: int,
        seed: int, max_depth: int, roulette_depth: int, grads: bool = False,
    ) -> None:  # fmt: skip
        self.targets, self.paths = targets, Paths(emitted, max(max_depth - 1, 1))
        landed, adrift = (Buffer((emitted + 1,), "int") for _ in range(2))
        self.start = (int(aimed > 0), emitted, aimed, number, seed)
        wholes, reals, counts, origins = self.paths.arguments
        kernels.shoot(
            transport.mask | media.mask, transport.light_kinds, *self.start, max_depth, roulette_depth,
            targets.spheres.ndarray, *transport.tables, *media.tables, origins, counts, landed.ndarray, adrift.ndarray,
            wholes, reals,
        )  # fmt: skip
        prefix_sum(landed, 1, emitted)
        self.count, among = int(landed.ndarray[emitted]), 0
        if media.mask:
            prefix_sum(adrift, 1, emitted)
            among = int(adrift.ndarray[emitted])
        room = capacity(self.count + among)
        at, flights, powers = (Array((room, 3), needs_grad=grads) for _ in range(3))
        normals = Array((room, 3), needs_grad=grads and media.mask > 0)
        self.photons, self.drifting = (
            Photons(at, flights, powers, normals, Buffer((room,), "int")),
            Buffer((room,), "int"),
        )
        kernels.land(
            int(media.mask > 0), emitted, room, *transport.tables[2:4], *media.tables, counts, landed.ndarray,
            adrift.ndarray, origins, wholes, reals, at.value, flights.value, powers.value, normals.value,
            self.photons.flags.ndarray, self.drifting.ndarray,
        )  # fmt: skip
