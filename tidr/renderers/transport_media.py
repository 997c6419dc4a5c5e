"""The media of a scene as the kernels of light transport take them; see kernels/transport/medium.py."""

import numpy as np

from tidr import runtime
from tidr.array import Array, integers
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate, reduce
from tidr.kernels.path import medium_adjoint
from tidr.kernels.transport import media_tables, medium
from tidr.kernels.transport.slots import PHASE
from tidr.scene.graph import Node, Scene
from tidr.scene.volume import ACTIVATIONS, Volume


class Media:
    """All volumes with an albedo, during one render; their boxes may overlap.

    mask: bits to add to the scene's mask, 0 where there is none. values [N, 1]: densities, albedos and g of all of
    them, recorded on the open tape; adjoint kernels add to its gradient. tables: the ndarrays media, media_places and
    media_values of `kernels.transport.tables.Tables`.

    Raises:
        SceneError: a volume that emits light, or whose node squeezes it flat.

    What this does not differentiate: where the boxes are.
    """

    def __init__(self, scene: Scene) -> None:
        self.nodes = [node for node in scene.ordered_nodes() if isinstance(node.geometry, Volume)]
        self.volumes = [_scattering(node) for node in self.nodes]
        self.mask = (1 << PHASE) * bool(self.volumes)
        self._sources: list[tuple[Array, int]] = []
        self.count = 0
        places = np.zeros((max(len(self.volumes), 1), medium.PLACES), np.int32)
        for row, volume in enumerate(self.volumes):
            activation = ACTIVATIONS.index(volume.density_activation)
            self.mask |= 1 << (medium.ACTIVATION + activation)
            depth, height, width = volume.shape
            albedo, g = volume.albedo, volume.g
            assert albedo is not None
            assert g is not None
            places[row, medium.KIND], places[row, medium.PER_CELL] = activation, len(albedo.shape) > 1
            places[row, medium.WIDTH : medium.DEPTH + 1] = width, height, depth
            for column, parameter in ((medium.DENSITIES, volume.density), (medium.ALBEDOS, albedo), (medium.G, g)):
                places[row, column] = self._append(parameter)
        self._places = integers(places)
        self.values = Array((max(self.count, 1), 1))
        inputs = [source for source, _ in self._sources]
        run(Operation(self._fill, self._scatter, inputs, [self.values], "media"))
        self._media = Buffer((len(places), medium.COLUMNS))
        if self.volumes:
            with unrecorded():
                self._describe(scene)

    @property
    def given(self) -> list[Array]:
        """What `values` is made of."""
        return [source for source, _ in self._sources]

    @property
    def tables(self) -> tuple:
        return self._media.ndarray, self._places.ndarray, self.values.value

    def learns(self) -> int:
        """Inside a backward: the bit of the mask that says that somebody wants the gradient of `values`."""
        return (1 << medium.LEARNS) * (bool(self.volumes) and needs(self.values))

    def part(self, copies: int) -> Buffer:
        """A zeroed accumulator of the gradient of `values`, with so many copies."""
        made = Buffer((copies * self.values.rows if self.learns() else 1,))
        made.ndarray.fill(0.0)
        return made

    def picks(self, rows: int) -> Buffer:
        """Room for what so many paths pick (kernels/path/medium_adjoint.py)."""
        return Buffer((rows if self.learns() else 1, medium_adjoint.PICK))

    def collect(self, part: Buffer, copies: int) -> None:
        """Add the sum of an accumulator to the gradient."""
        if self.learns():
            accumulate.collect(copies, self.values.rows, 1, part.ndarray, self.values.grad)

    def _append(self, parameter: Array) -> int:
        start = self.count
        self._sources.append((parameter, start))
        self.count += parameter.rows * parameter.channels
        return start

    def _fill(self) -> None:
        for source, start in self._sources:
            media_tables.flatten(source.rows, source.channels, source.value, self.values.value, start)

    def _scatter(self) -> None:
        for source, start in self._sources:
            if needs(source):
                media_tables.flatten_adjoint(source.rows, source.channels, self.values.grad, start, source.grad)

    def _describe(self, scene: Scene) -> None:
        """Fill the table of media; the densities' bounds are found on the device."""
        matrices, rows = scene.world_matrices(), np.zeros((len(self.volumes), medium.COLUMNS))
        for row, node, volume in zip(rows, self.nodes, self.volumes, strict=True):
            row[: medium.SHIFT] = _to_cells(node, volume, matrices[node.name]).ravel()
            row[medium.SHIFT] = volume.density_shift
            row[medium.SOFT] = 1 / np.linalg.norm(matrices[node.name][:3, :3] @ (volume.upper - volume.lower))
        real = np.float64 if runtime.current().precision == 64 else np.float32
        self._media.ndarray.from_numpy(rows.astype(real))
        for row, volume in enumerate(self.volumes):
            numbers = int(np.prod(volume.shape))
            parts = reduce.split(numbers, runtime.on_cpu()).chunks
            size = -(-numbers // parts)
            parts = -(-numbers // size)
            partial, start = Buffer((2 * parts,)), self._sources[3 * row][1]
            media_tables.bounds(
                row, numbers, start, self.values.value, parts, size, partial.ndarray,
                ACTIVATIONS.index(volume.density_activation), self._media.ndarray,
            )  # fmt: skip


def _scattering(node: Node) -> Volume:
    volume = node.geometry
    assert isinstance(volume, Volume)
    if volume.color is not None or volume.sh is not None:
        mend = "give it an albedo and no color or sh, or draw it with the volume renderer"
        raise SceneError(f"nodes.{node.name}.volume", "emits light, which light transport does not follow", mend)
    return volume


def _to_cells(node: Node, volume: Volume, to_world: np.ndarray) -> np.ndarray:
    """[3, 4] world to cells, 0 at the first one's centre."""
    scale = np.array(volume.shape[::-1]) / (volume.upper - volume.lower)
    try:
        to_object = np.linalg.inv(to_world)[:3]
    except np.linalg.LinAlgError:
        raise SceneError(f"nodes.{node.name}.scale", "makes the volume flat", "give a scale other than 0") from None
    cells = scale[:, None] * to_object
    cells[:, 3] -= scale * volume.lower + 0.5
    return cells
