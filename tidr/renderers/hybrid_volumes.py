"""The volumes of a hybrid picture: samples at the strata of each box along the rays of a band, and their adjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels import accumulate
from tidr.kernels.hybrid import samples as kernels
from tidr.kernels.hybrid import scattering as kernels_of_media
from tidr.kernels.volume import march, march_adjoint, medium_adjoint, sh
from tidr.scene.graph import Node, Scene
from tidr.scene.volume import Volume

from .volume_grid import packed_grid
from .volume_medium import Medium

if TYPE_CHECKING:
    from .hybrid_walk import Band
    from .rays import Rays
    from .volume import VolumeRenderer


class GridSamples:
    """Density and colour, or normal, of a `Volume` along rays in its object space."""

    def __init__(self, settings: VolumeRenderer, scene: Scene, node: Node, rays: Rays) -> None:
        volume = node.geometry
        assert isinstance(volume, Volume)
        self.settings, self.volume, self.rays = settings, volume, rays
        per_cell = volume.color is not None and len(volume.color.shape) > 1
        self.radiance = volume.sh if volume.sh is not None else volume.color if per_cell else None
        self.tint = volume.color if volume.color is not None and not per_cell else constant([(0.0, 0.0, 0.0)])
        colors = [one for one in (self.radiance, volume.color) if one is not None]
        self.inputs = [volume.density, *dict.fromkeys(colors), rays.origins, rays.directions]
        self.box = constant([volume.lower, volume.upper, volume.shape[::-1] / (volume.upper - volume.lower)])
        self.to_object = constant(np.linalg.inv(scene.world_matrices()[node.name])[:3, :3])

    def pack(self) -> None:
        """Bring the grids to where samples are taken from."""
        self.packed = packed = packed_grid(self.volume, self.radiance, self.settings.half)
        self.blocks = packed.blocks(0.0)
        self.basis = Array((self.rays.count, packed.terms)) if packed.kind == march.HARMONICS else self.rays.cosines
        if packed.kind == march.HARMONICS:
            sh.harmonics(self.rays.count, packed.terms, self.rays.directions.value, self.basis.value)

    def sample(self, band: Band, begin: int, look: str, layer: Array, times: Buffer, samples: Buffer) -> None:
        """Write the times and samples of a band, from row `begin` of its rays on; none behind an opaque layer."""
        packed, blocks = self.packed, self.blocks or self.packed.no_blocks
        kernels.grid_samples(
            *self._strata(band, begin), *self._grid(), blocks.ndarray, 0.0, layer.value, self.rays.cosines.value,
            times.ndarray, samples.ndarray, packed.kind, packed.activation, self.blocks is not None,
        )  # fmt: skip
        if look == "normal":
            kernels.grid_normals(
                *self._strata(band, begin), *self._grid(), self.to_object.value, layer.value, self.rays.cosines.value,
                samples.ndarray, packed.kind,
            )  # fmt: skip

    def begin(self, look: str) -> None:
        """Clear what the gradients of the bands are added up in."""
        self.look, packed, self.chunks = look, self.packed, runtime.reduction_chunks()
        density, radiance, rays = self.volume.density, self.radiance, self.rays
        self.to_density, self.to_radiance = needs(density), radiance is not None and needs(radiance)
        self.to_cells = self.to_density or self.to_radiance
        self.to_rays = needs(rays.origins) or needs(rays.directions)
        size = runtime.chunks() * packed.cells.ndarray.shape[0] if self.to_cells else 1
        self.part = zeros(size, vector=0 if radiance is None else 4)
        self.part_tint = zeros(3 * self.chunks)
        if packed.kind == march.HARMONICS:
            self.basis.zero_grad()

    def scatter(self, band: Band, begin: int, to_times: Buffer, to_samples: Buffer) -> None:
        """Add what a band's samples give to the grids and to the rays."""
        packed, rays = self.packed, self.rays
        strata, grid, kinds = self._strata(band, begin), self._grid(), (packed.kind, packed.activation)
        if self.look == "normal":
            kernels.drop_colors(begin * self.settings.steps, band.count * self.settings.steps, to_samples.ndarray)
        kernels.grid_samples_adjoint(
            self.chunks, *strata, *grid, to_times.ndarray, to_samples.ndarray, self.part.ndarray,
            self.part_tint.ndarray, self.basis.grad, rays.origins.grad, rays.directions.grad, *kinds,
            self.to_cells and runtime.on_cpu(), self.to_rays, runtime.chunk_block(),
        )  # fmt: skip
        if self.to_cells and not runtime.on_cpu():
            kernels.grid_samples_scatter(*strata, *grid, to_samples.ndarray, self.part.ndarray, *kinds)

    def end(self) -> None:
        """From what was added up to the gradients of the grids and directions."""
        volume, packed, chunks = self.volume, self.packed, runtime.chunks()
        depth, height, width = volume.shape
        if self.radiance is not None and self.to_cells:
            march_adjoint.unpack_color(
                chunks, depth * height, width, packed.terms, self.part.ndarray, volume.density.grad,
                self.radiance.grad, self.to_density, self.to_radiance,
            )  # fmt: skip
        elif self.to_density:
            march_adjoint.unpack_density(chunks, depth * height, width, self.part.ndarray, volume.density.grad)
        if self.tint is volume.color and needs(self.tint):
            accumulate.collect(self.chunks, 1, 3, self.part_tint.ndarray, self.tint.grad)
        if self.to_rays and packed.kind == march.HARMONICS:
            sh.harmonics_adjoint(
                self.rays.count, packed.terms, self.rays.directions.value, self.basis.grad, self.rays.directions.grad
            )  # fmt: skip

    def _strata(self, band: Band, begin: int) -> tuple:
        settings = self.settings
        return band.first, band.count, begin, settings.steps, int(settings.jitter), settings.seed

    def _grid(self) -> tuple:
        depth, height, width = self.volume.shape
        packed, rays = self.packed, self.rays
        return (
            self.box.value, width, height, depth, packed.shift, rays.origins.value, rays.directions.value,
            packed.cells.ndarray, packed.terms, self.basis.value, self.tint.value,
        )  # fmt: skip


def zeros(count: int, vector: int = 0) -> Buffer:
    """Reals, or vectors of so many, that are 0."""
    made = Buffer((count,), vector=vector)
    made.ndarray.fill(0.0)
    return made


class MediumSamples(GridSamples):
    """The same of a medium, whose colour is what it scatters beside what it emits."""

    def __init__(self, settings: VolumeRenderer, scene: Scene, node: Node, rays: Rays) -> None:
        super().__init__(settings, scene, node, rays)
        self.medium = Medium(settings, scene, node)
        self.inputs = list(dict.fromkeys([*self.inputs, *self.medium.inputs]))

    def pack(self) -> None:
        super().pack()
        self.medium.pack()

    def sample(self, band: Band, begin: int, look: str, layer: Array, times: Buffer, samples: Buffer) -> None:
        super().sample(band, begin, look, layer, times, samples)
        if look == "color":
            kernels_of_media.medium_samples(
                *self._strata(band, begin), *self._scattering(), layer.value, self.rays.cosines.value,
                samples.ndarray, self.medium.kind,
            )  # fmt: skip

    def begin(self, look: str) -> None:
        super().begin(look)
        self.wanted = self.medium.wanted(self.rays)
        if self.medium.kind == march.DENSITY:
            self.wanted &= ~medium_adjoint.TO_CELLS  # there are none but the density's, which the samples' own
        self.slots = runtime.chunks() if runtime.on_cpu() else self.rays.count
        self.parts = self.medium.accumulators(self.wanted, self.slots)

    def scatter(self, band: Band, begin: int, to_times: Buffer, to_samples: Buffer) -> None:
        super().scatter(band, begin, to_times, to_samples)
        if self.look == "normal":
            return
        rays, on_cpu, steps = self.rays, runtime.on_cpu(), self.settings.steps
        sums, to_cells, to_depths = (part.ndarray for part in self.parts)
        together = steps if on_cpu else 1
        for k in range(0, steps, together):
            kernels_of_media.medium_samples_adjoint(
                self.slots if on_cpu else band.count, self.wanted, k, k + together, *self._strata(band, begin),
                *self._scattering(), to_samples.ndarray, rays.origins.grad, rays.directions.grad, sums, to_cells,
                to_depths, self.medium.kind, on_cpu,
            )  # fmt: skip

    def end(self) -> None:
        super().end()
        if self.look == "color":
            self.medium.gather(self.wanted, self.slots, *self.parts)

    def _scattering(self) -> tuple:
        medium, rays, lights = self.medium, self.rays, self.medium.lights
        return (
            medium.nearest, lights.count, *medium.size, *medium.nodes, rays.origins.value, rays.directions.value,
            medium.box.value, medium.cells.ndarray, medium.albedo.value, medium.g.value, lights.kinds.ndarray,
            lights.table.value, lights.metric.value, medium.depths.ndarray,
        )  # fmt: skip


def samples_of(settings: VolumeRenderer, scene: Scene, node: Node, rays: Rays) -> GridSamples:
    """The samples of a node that holds a `Volume`."""
    volume = node.geometry
    assert isinstance(volume, Volume)
    kind = GridSamples if volume.albedo is None else MediumSamples
    return kind(settings, scene, node, rays)
