"""Light from all around for shaded surfaces: environments, blurred as materials need it, and spherical harmonics.

Both speak as `shading.LightSource` does: `gather` fills the column light_value with what a point receives over pi,
which materials answer to as to ambient light. Metallic-roughness surfaces see an environment by the split sum instead
(kernels/shading/environment.py).
"""

import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidr import runtime
from tidr.array import Array, integers
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels import accumulate
from tidr.kernels.shading import environment as kernels
from tidr.kernels.shading import harmonics, prefilter, shade
from tidr.kernels.shading.brdf import SHARPEST
from tidr.kernels.shading.brdf_table import brdf_table
from tidr.kernels.texture import scratch_rows
from tidr.parameter import Parameter
from tidr.scene.harmonics import map_directions, texel_directions
from tidr.scene.light import EnvironmentLight, SphericalHarmonicLight

from .background import PRIVATE

SPLIT_SUM = "metallic_roughness"  # the family of materials with highlights of an environment
DIFFUSE_ROWS = 16
ROUGHEST = ((64, 0.194), (32, 0.274), (32, 0.387), (16, 0.548), (16, 0.775), (16, 1.0))  # a level's rows, roughness
FINEST_ROWS = 128  # of an environment, from which the first of these levels is worth making
TAIL = 10.0  # tangent over alpha of the facets' angle beyond which 1 % of a lobe lies; it is left out


@dataclass(frozen=True)
class Level:
    """One map of a chain: first row, size, roughness (the diffuse one has -1), and rows of what it is blurred from."""

    first: int
    height: int
    width: int
    roughness: float
    source: int = 0

    @property
    def alpha(self) -> float:
        return max(self.roughness, 0.0) ** 2

    @property
    def reach(self) -> float:
        """The angle to which the lobe is added up."""
        return math.pi / 2 if self.alpha == 0 else min(2 * math.atan(TAIL * self.alpha), math.pi / 2)


def levels_of(height: int, width: int, specular: bool) -> list[Level]:
    """The diffuse map; with `specular` the environment itself, then maps that are ever more blurred.

    The environment itself stands at the roughness of a lobe half a texel wide: sharper ones could not show more of it.
    """
    found = [Level(0, DIFFUSE_ROWS, 2 * DIFFUSE_ROWS, -1.0, 2 * DIFFUSE_ROWS)]
    if specular:
        sharp = max(SHARPEST, math.sqrt(1.2 / height))
        found.append(Level(2 * DIFFUSE_ROWS**2, height, width, sharp))
        for rows, roughness in ROUGHEST[height < FINEST_ROWS :]:
            if roughness > 1.2 * sharp:
                first = found[-1].first + found[-1].height * found[-1].width
                found.append(Level(first, rows, 2 * rows, roughness, 2 * rows))
    return found


class Chain:
    """All maps of one environment on the device, and the way back to its texels."""

    def __init__(self, texels: Array, specular: bool) -> None:
        self.height, self.width = texels.shape[:2] if len(texels.shape) == 3 else (1, 1)
        self.levels = levels_of(self.height, self.width, specular)
        last = self.levels[-1]
        self.rows = last.first + last.height * last.width
        self.table = integers([[level.first, level.height, level.width] for level in self.levels])
        self.rough = _reals(runtime.generation(), tuple(level.roughness for level in self.levels))
        self.values = Buffer((self.rows, 3))
        self.norms = [Buffer((level.height * level.width,)) for level in self.levels]
        for level, norm in zip(self.levels, self.norms, strict=True):
            if level.source == 0:
                accumulate.copy_rows(texels.rows, 3, texels.value, self.values.ndarray, level.first)
                continue
            pooled = Buffer((2 * level.source**2, 3))
            prefilter.pool(self.height, self.width, texels.value, *_size(level.source), pooled.ndarray, 0)
            prefilter.convolve(
                level.alpha, level.reach, *_size(level.source), 0.5, *_grid(level.source), pooled.ndarray, 0,
                level.height, level.width, _poles(level.height), norm.ndarray, self.values.ndarray, level.first, 0,
            )  # fmt: skip

    def to_texels(self, grads: Array, texels: Array) -> None:
        """Add to the texels' gradient what the gradient of the maps, grads.grad [rows, 3], makes of it."""
        for level, norm in zip(self.levels, self.norms, strict=True):
            if level.source == 0:
                accumulate.add_rows(texels.rows, 3, grads.grad, level.first, texels.grad, 0)
                continue
            pooled, spare = Buffer((2 * level.source**2, 3)), Buffer((1,))
            tall, wide = _size(level.source)
            prefilter.convolve(
                level.alpha, level.reach, level.height, level.width, 0.0, _poles(level.height), norm.ndarray,
                grads.grad, level.first, tall, wide, _grid(level.source)[0], spare.ndarray, pooled.ndarray, 0, 1,
            )  # fmt: skip
            prefilter.pool(self.height, self.width, texels.grad, tall, wide, pooled.ndarray, 1)


_chains: weakref.WeakKeyDictionary[EnvironmentLight, tuple[tuple, Chain]] = weakref.WeakKeyDictionary()


def chain_of(light: EnvironmentLight, specular: bool) -> Chain:
    """The environment's maps, made anew when its radiance has changed."""
    texels = light.radiance
    key = (runtime.generation(), texels.version, texels.shape, specular)
    held = _chains.get(light)
    if held is None or held[0] != key:
        held = _chains[light] = (key, Chain(texels, specular))
    return held[1]


class EnvironmentSource:
    """An environment light on surfaces; `plain` gives the kernel of a family that answers as to ambient light."""

    kind = shade.AMBIENT

    def __init__(self, light: EnvironmentLight, families: list[str], plain: Callable[[str], Any]) -> None:
        self.light, self.plain, self.specular = light, plain, SPLIT_SUM in families
        self._chain: Chain | None = None
        self._parts: tuple[int, Buffer, Buffer] | None = None

    def parameters(self) -> list[Parameter]:
        return [self.light.radiance, self.light.rotation]

    def kernel(self, name: str) -> Any:
        """The kernel of a family of materials, its adjoint as `.grad`."""
        return _SplitSum(self) if name == SPLIT_SUM else self.plain(name)

    def gather(self, buffer, count: int) -> None:
        self._chain = chain_of(self.light, self.specular)
        angle, chain = self.light.rotation.value, self._chain
        kernels.gather(buffer, count, angle, chain.table.ndarray, chain.values.ndarray)

    def reflect(self, buffer, count: int, family_of_material, family: int) -> None:
        """Add what surfaces of the family send to the viewer to their colour."""
        assert self._chain is not None
        angle, chain = self.light.rotation.value, self._chain
        kernels.reflect(
            buffer, count, family_of_material, family, angle, chain.table.ndarray, chain.rough.ndarray,
            chain.values.ndarray, _table(runtime.generation()).value,
        )  # fmt: skip

    def scatter(self, buffer, count: int, family_of_material, family: int, reflects: bool) -> None:
        """From the gradient of what `reflect`, or else `gather`, wrote, to columns and private accumulators."""
        assert self._chain is not None
        chain, chunks = self._chain, runtime.reduction_chunks()
        if self._parts is None:
            copies = scratch_rows(chunks, chain.rows, 3) if runtime.on_cpu() else chunks
            if not runtime.on_cpu() and chunks * chain.rows * 3 > PRIVATE:
                copies = 0
            self._parts = copies, Buffer((max(copies, 1) * chain.rows * 3,)), Buffer((copies or chunks,))
            for part in self._parts[1:]:
                part.ndarray.fill(0.0)
        copies, part, angles = self._parts
        kernels.adjoint(
            copies or chunks, chain.rows, buffer, count, family_of_material, family, self.light.rotation.value,
            chain.table.ndarray, chain.rough.ndarray, chain.values.ndarray, _table(runtime.generation()).value,
            part.ndarray, angles.ndarray, runtime.chunk_block(), reflects, copies == 0,
        )  # fmt: skip

    def gather_adjoint(self, buffer, count: int, _part) -> None:
        """From the column's gradient, and what `scatter` has found before, to radiance and rotation."""
        nothing = integers([0])
        self.scatter(buffer, count, nothing.ndarray, 0, False)
        assert self._chain is not None
        assert self._parts is not None
        (copies, part, angles), self._parts = self._parts, None
        radiance, rotation = self.light.radiance, self.light.rotation
        if needs(rotation):
            accumulate.collect(copies or runtime.reduction_chunks(), 1, 1, angles.ndarray, rotation.grad)
        if needs(radiance):
            grads = Array((self._chain.rows, 3))
            grads.zero_grad()
            accumulate.collect(max(copies, 1), self._chain.rows, 3, part.ndarray, grads.grad)
            self._chain.to_texels(grads, radiance)


class _SplitSum:
    """`EnvironmentSource.reflect`, called like the kernels of `shade`."""

    def __init__(self, source: EnvironmentSource) -> None:
        self.source = source

    def __call__(self, buffer, count: int, family_of_material, family: int, _kind: int) -> None:
        self.source.reflect(buffer, count, family_of_material, family)

    def grad(self, buffer, count: int, family_of_material, family: int, _kind: int) -> None:
        self.source.scatter(buffer, count, family_of_material, family, True)


class HarmonicsSource:
    """Light as spherical harmonics on surfaces; see `EnvironmentSource`."""

    kind = shade.AMBIENT

    def __init__(self, light: SphericalHarmonicLight, plain: Callable[[str], Any]) -> None:
        self.coefficients, self.kernel = light.coefficients, plain

    def parameters(self) -> list[Parameter]:
        return [self.coefficients]

    def gather(self, buffer, count: int) -> None:
        harmonics.gather(buffer, count, self.coefficients.value)

    def gather_adjoint(self, buffer, count: int, _part) -> None:
        chunks, coefficients = runtime.reduction_chunks(), self.coefficients
        part = Buffer((chunks * coefficients.rows * 3,))
        harmonics.gather_adjoint(chunks, buffer, count, coefficients.value, part.ndarray, runtime.chunk_block())
        accumulate.collect(chunks, coefficients.rows, 3, part.ndarray, coefficients.grad)


def _size(rows: int) -> tuple[int, int]:
    return rows, 2 * rows


def _grid(rows: int) -> tuple[Any, Any]:
    """([n, 4] directions and solid angles, [n] solid angles) of a map of so many rows."""
    directions, solid_angles = _directions(runtime.generation(), rows)
    return directions.value, solid_angles.ndarray


def _poles(rows: int) -> Any:
    """[n, 4] directions, and zeros, of a blurred map, whose first and last row are the poles."""
    return _pole_directions(runtime.generation(), rows).value


@functools.lru_cache(maxsize=8)
def _pole_directions(_generation: int, rows: int) -> Array:
    directions = map_directions(np.linspace(0, np.pi, rows), 2 * rows)
    return Array.of(np.pad(directions, ((0, 0), (0, 1))), needs_grad=False)


@functools.lru_cache(maxsize=8)
def _directions(generation: int, rows: int) -> tuple[Array, Buffer]:
    directions, solid_angles = texel_directions(rows, 2 * rows)
    grid = np.concatenate([directions, solid_angles[:, None]], 1)
    return Array.of(grid, needs_grad=False), _reals(generation, tuple(solid_angles))


@functools.lru_cache(maxsize=16)
def _reals(generation: int, numbers: tuple[float, ...]) -> Buffer:
    buffer = Buffer((len(numbers),))
    buffer.ndarray.from_numpy(np.array(numbers, np.float64 if runtime.current().precision == 64 else np.float32))
    return buffer


@functools.lru_cache(maxsize=1)
def _table(generation: int) -> Array:
    return Array.of(brdf_table(), needs_grad=False)
