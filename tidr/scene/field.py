"""Radiance fields of a learned encoding and a small network: `HashField` (instant-NGP), `FrequencyField` (NeRF)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tidr.errors import SceneError
from tidr.kernels.field.network import LINEAR, RELU, SIGMOID
from tidr.parameter import Parameter

HARMONICS = 16
LARGEST = 1 << 28  # entries of a table, so that 32-bit indices do not overflow
SKIP = 4  # the layer of NeRF whose output is joined by the encoding


@dataclass
class Network:
    """A plan of layers on rows of numbers, one row a quantity; see tidr.kernels.field.network.

    density: the row that makes the density. The colour is the last three of `rows`. encoded: first row and number of
    the rows that encodings fill; directions: the first of those that encode the direction. size: weights and biases.
    """

    rows: int
    density: int
    encoded: tuple[int, int]
    directions: int
    layers: list[tuple[int, int, int, int, int, int, int]] = field(default_factory=list)
    size: int = 0

    @property
    def density_layers(self) -> int:
        """How many layers, from the first on, make the density."""
        return 1 + next(k for k, layer in enumerate(self.layers) if layer[2] <= self.density < layer[2] + layer[3])

    def add(self, source: int, inputs: int, target: int, outputs: int, activation: int, bias: bool = False) -> None:
        """A layer from rows source .. source + inputs - 1 to target .. target + outputs - 1."""
        place = self.size
        self.size += outputs * inputs
        self.layers.append((source, inputs, target, outputs, place, self.size if bias else -1, activation))
        self.size += outputs if bias else 0

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """[size] weights, uniform with a variance that keeps the layers' (He et al. 2015; Glorot and Bengio 2010)."""
        values = np.zeros(self.size)
        for _, inputs, _, outputs, place, _, activation in self.layers:
            bound = math.sqrt(6 / inputs if activation == RELU else 6 / (inputs + outputs))
            values[place : place + inputs * outputs] = rng.uniform(-bound, bound, inputs * outputs)
        return values


class HashField:
    """A radiance field from a multiresolution hash table and two small networks, in the box from `lower` to `upper`.

    Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding". Density is exp of the
    first of 1 + geometry outputs of the first network; these and the direction's spherical harmonics of degree 3 give
    the colour by the second (sigmoid, linear RGB). Density is per world length.

    levels, features: of the encoding; log2_entries: of each level's table at most; base_resolution,
    finest_resolution: cells an axis of the coarsest and finest level. width: of the hidden layers, one and two of them.

    options: these arguments, for a scene file.

    Parameters: table [entries * features], level after level; weights [n], layer after layer [outputs, inputs].

    Raises:
        SceneError: sizes out of range, or a box without extent.
    """

    def __init__(
        self, levels: int = 16, features: int = 2, log2_entries: int = 16, base_resolution: int = 16,
        finest_resolution: int = 512, width: int = 64, geometry: int = 15, lower=(-1, -1, -1), upper=(1, 1, 1),
        seed: int = 0,
    ) -> None:  # fmt: skip
        _within("levels", levels, 1, 32)
        _within("features", features, 1, 8)
        _within("log2_entries", log2_entries, 4, 24)
        _within("base_resolution", base_resolution, 1, 4096)
        _within("finest_resolution", finest_resolution, base_resolution, 1 << 19)
        _within("width", width, 1, 1024)
        _within("geometry", geometry, 0, 255)
        self.lower, self.upper = _box(lower, upper)
        self.options = {
            "levels": levels, "features": features, "log2_entries": log2_entries, "base_resolution": base_resolution,
            "finest_resolution": finest_resolution, "width": width, "geometry": geometry,
        }  # fmt: skip
        self.features = features
        self.levels = _lattices(levels, log2_entries, base_resolution, finest_resolution)
        entries = int(self.levels[-1, 0]) + _entries(self.levels[-1])
        if entries * features > LARGEST:
            raise SceneError("log2_entries", f"makes a table of {entries * features} numbers", "take fewer")
        self.network = _hash_network(levels * features, width, 1 + geometry)
        rng = np.random.default_rng(seed)
        self.table = Parameter(rng.uniform(-1e-4, 1e-4, entries * features))
        self.weights = Parameter(self.network.start(rng))

    def parameters(self) -> dict[str, Parameter]:
        return {"table": self.table, "weights": self.weights}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box, object space."""
        return self.lower, self.upper

    def byte_size(self) -> int:
        """Bytes of the parameters at 4 bytes a number."""
        return sum(4 * p.rows * p.channels for p in self.parameters().values())


class FrequencyField:
    """A radiance field from sines and cosines of the position and two networks, in the box from `lower` to `upper`.

    Mildenhall et al. 2020, "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis": `depth` layers of
    `width` with ReLU and biases, the encoded position again after the fifth, density softplus(x - 1) per world length,
    then a layer of half the width that also sees the encoded direction, colour by sigmoid (linear RGB). There are two:
    the coarse one tells where on a ray the fine one is looked up, at its own samples and `fine_samples` more.

    octaves, direction_octaves: of the encodings. options: these arguments, for a scene file.

    Parameters: coarse [n] and fine [n], layer after layer the weights [outputs, inputs], then the biases.

    Raises:
        SceneError: sizes out of range, or a box without extent.
    """

    def __init__(
        self, width: int = 256, depth: int = 8, octaves: int = 10, direction_octaves: int = 4, fine_samples: int = 128,
        lower=(-1, -1, -1), upper=(1, 1, 1), seed: int = 0,
    ) -> None:  # fmt: skip
        _within("width", width, 2, 1024)
        _within("depth", depth, 1, 16)
        _within("octaves", octaves, 0, 20)
        _within("direction_octaves", direction_octaves, 0, 20)
        _within("fine_samples", fine_samples, 1, 4096)
        self.lower, self.upper = _box(lower, upper)
        self.options = {
            "width": width, "depth": depth, "octaves": octaves, "direction_octaves": direction_octaves,
            "fine_samples": fine_samples,
        }  # fmt: skip
        self.octaves, self.direction_octaves, self.fine_samples = octaves, direction_octaves, fine_samples
        self.network = _frequency_network(3 + 6 * octaves, 3 + 6 * direction_octaves, width, depth)
        rng = np.random.default_rng(seed)
        self.coarse = Parameter(self.network.start(rng))
        self.fine = Parameter(self.network.start(rng))

    def parameters(self) -> dict[str, Parameter]:
        return {"coarse": self.coarse, "fine": self.fine}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box, object space."""
        return self.lower, self.upper

    def byte_size(self) -> int:
        """Bytes of the parameters at 4 bytes a number."""
        return sum(4 * p.rows * p.channels for p in self.parameters().values())


def _lattices(levels: int, log2_entries: int, base: int, finest: int) -> np.ndarray:
    """[levels, 4] first entry, corners an axis, cells an axis, and length - 1 of the table if it is hashed, else 0."""
    growth = math.exp(math.log(finest / base) / max(levels - 1, 1))
    found, first, limit = [], 0, 1 << log2_entries
    for level in range(levels):
        cells = max(math.ceil(base * growth**level - 1 - 1e-9), 1)
        side = cells + 2  # the lattice is shifted by half a cell
        hashed = side**3 > limit
        found.append((first, side, cells, limit - 1 if hashed else 0))
        first += limit if hashed else side**3
    return np.array(found, np.int64)


def _entries(level: np.ndarray) -> int:
    return int(level[3] + 1 if level[3] else level[1] ** 3)


def _hash_network(encoding: int, width: int, outputs: int) -> Network:
    """Rows: encoding, harmonics, outputs of the first network, its hidden layer, those of the second, colour."""
    geometry = encoding + HARMONICS
    hidden = [geometry + outputs + k * width for k in range(4)]
    network = Network(hidden[3] + 3, geometry, (0, geometry), encoding)
    network.add(0, encoding, hidden[0], width, RELU)
    network.add(hidden[0], width, geometry, outputs, LINEAR)
    network.add(encoding, HARMONICS + outputs, hidden[1], width, RELU)
    network.add(hidden[1], width, hidden[2], width, RELU)
    network.add(hidden[2], width, hidden[3], 3, SIGMOID)
    return network


def _frequency_network(encoding: int, directions: int, width: int, depth: int) -> Network:
    """Rows: the fifth layer, encoded position, encoded direction, feature, other layers, colour layer, density, colour.

    The rows that a layer reads lie side by side.
    """
    feature = width + encoding + directions
    free = iter(range(feature + width, feature + width * (depth + 1), width))
    target = [0 if k == SKIP else next(free) for k in range(depth)]
    last = next(free, feature + width * (depth + 1))
    network = Network(last + width // 2 + 4, last + width // 2, (width, encoding + directions), width + encoding)
    source, inputs = width, encoding
    for k in range(depth):
        network.add(source, inputs, target[k], width, RELU, bias=True)
        source, inputs = target[k], width + encoding if k == SKIP and k + 1 < depth else width
    network.add(source, width, network.density, 1, LINEAR, bias=True)
    network.add(source, width, feature, width, LINEAR, bias=True)
    network.add(width + encoding, directions + width, last, width // 2, RELU, bias=True)
    network.add(last, width // 2, network.rows - 3, 3, SIGMOID, bias=True)
    return network


def _within(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise SceneError(name, f"is {value!r}", f"give a whole number from {low} to {high}")


def _box(lower: Sequence[float], upper: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    if low.shape != (3,) or high.shape != (3,) or not np.isfinite([low, high]).all() or not (high > low).all():
        raise SceneError("field", f"box from {lower} to {upper}", "give two corners (x, y, z), upper above lower")
    return low, high
