"""Evaluates a field's network at lists of samples along rays, chunk by chunk, in memory of fixed size."""

from collections.abc import Iterator

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.field import BLOCK, composite, network_layers, samples
from tidr.kernels.field import network as kernels
from tidr.parameter import Parameter
from tidr.scene.field import Network

NUMBERS = 1 << 24  # of a chunk's activations; at 4 bytes each 64 MiB, half of what any Vulkan device binds


class SampleList:
    """Room for the samples of a chunk of rays; see tidr.kernels.field.samples."""

    def __init__(self, capacity: int) -> None:
        self.owner = Buffer((capacity,), "int")
        self.times, self.widths, self.weights = (Buffer((capacity,)) for _ in range(3))
        self.positions = Buffer((3 * capacity,))

    def arrays(self) -> tuple:
        return self.owner.ndarray, self.times.ndarray, self.widths.ndarray, self.positions.ndarray


class Evaluator:
    """A network's activations and gradients for up to `capacity` samples, at least `least`.

    `holds` tells what the activations were last made for, so that a backward that follows at once need not repeat it.
    """

    def __init__(self, network: Network, least: int) -> None:
        self.network = network
        blocks = max(NUMBERS // (network.rows * BLOCK), -(-least // BLOCK), 1)
        self.capacity = blocks * BLOCK
        self.samples = SampleList(self.capacity)
        self.values = Buffer((self.capacity * network.rows,))
        self.plan = Buffer((len(network.layers) * kernels.FIELDS,), "int")
        self.plan.ndarray.from_numpy(np.array(network.layers, np.int32).reshape(-1))
        self.holds: object = None
        self._gradients: tuple[Buffer, ...] = ()

    @property
    def to_outputs(self) -> Buffer:
        """[blocks * 4 * BLOCK] gradient of density's row and colour's three."""
        return self._backward()[0]

    @property
    def to_inputs(self) -> Buffer:
        """[blocks * kept * BLOCK] gradient of the encoded rows."""
        return self._backward()[1]

    @property
    def to_positions(self) -> Buffer:
        """[capacity * 3]."""
        return self._backward()[2]

    def forward(self, weights: Parameter, total: int, layers: int | None = None) -> None:
        """Fill the rows of all or the first `layers` layers from the encoded ones, for the first `total` samples."""
        network, blocks = self.network, -(-total // BLOCK)
        layers = len(network.layers) if layers is None else layers
        if runtime.on_cpu():
            kernels.forward(blocks, layers, network.rows, self.plan.ndarray, weights.value, self.values.ndarray)
            return
        for layer in network.layers[:layers]:
            network_layers.forward_layer(blocks * BLOCK, network.rows, *layer, weights.value, self.values.ndarray)

    def backward(self, weights: Parameter, total: int, layers: int | None = None, to_weights: bool = True) -> None:
        """From `to_outputs` fill `to_inputs` and, with `to_weights`, add to the gradient of the weights.

        layers: as in `forward`; the others' outputs have no gradient then.
        """
        network, blocks = self.network, -(-total // BLOCK)
        layers = len(network.layers) if layers is None else layers
        composite.clear_outputs(total, blocks * BLOCK, self.to_outputs.ndarray)
        chunks = runtime.chunks() if runtime.on_cpu() else 16
        part, grads = self._backward()[3:]
        part.ndarray.fill(0.0)
        if runtime.on_cpu():
            kernels.backward(
                chunks, blocks, layers, network.rows, network.size, self.plan.ndarray, weights.value,
                self.values.ndarray, *network.encoded, network.density, self.to_outputs.ndarray,
                self.to_inputs.ndarray, grads.ndarray, part.ndarray,
            )  # fmt: skip
        else:
            self._backward_layers(chunks, blocks * BLOCK, layers, weights, grads, part)
        if to_weights:
            kernels.collect(chunks, network.size, part.ndarray, weights.grad)

    def _backward_layers(
        self, chunks: int, count: int, layers: int, weights: Parameter, grads: Buffer, part: Buffer
    ) -> None:
        network, values = self.network, self.values.ndarray
        network_layers.seed_outputs(count, network.rows, network.density, self.to_outputs.ndarray, grads.ndarray)
        for source, inputs, target, outputs, place, bias, kind in reversed(network.layers[:layers]):
            network_layers.activation_adjoint(count, network.rows, target, outputs, kind, values, grads.ndarray)
            shape = (source, inputs, target, outputs, place)
            network_layers.weights_adjoint(
                chunks, count, network.rows, *shape, bias, network.size, values, grads.ndarray, part.ndarray
            )
            network_layers.inputs_adjoint(count, network.rows, *shape, weights.value, grads.ndarray)
        network_layers.keep_rows(count, network.rows, *network.encoded, grads.ndarray, self.to_inputs.ndarray)

    def _backward(self) -> tuple[Buffer, ...]:
        if not self._gradients:
            network, on_cpu = self.network, runtime.on_cpu()
            held = runtime.chunks() * BLOCK if on_cpu else self.capacity
            chunks = runtime.chunks() if on_cpu else 16
            sizes = (
                self.capacity * 4, self.capacity * network.encoded[1], self.capacity * 3, chunks * network.size,
                held * network.rows,
            )  # fmt: skip
            self._gradients = tuple(Buffer((size,)) for size in sizes)
        return self._gradients


def chunks_of(starts: Buffer, count: int, capacity: int, share: int = 1) -> Iterator[tuple[int, int, int]]:
    """(first ray, ray after the last, samples) of chunks that hold at most `capacity` samples.

    starts [count + 1]: sums of what is counted before each ray; each of these stands for `share` samples.
    """
    before = starts.ndarray.to_numpy().astype(np.int64) * share
    begin = 0
    while begin < count:
        end = int(np.searchsorted(before, before[begin] + capacity, side="right")) - 1
        yield begin, end, int(before[end] - before[begin])
        begin = end


def start_rays(count: int, counts: Buffer) -> Buffer:
    """[count + 1] sums of the counts before each ray."""
    starts = Buffer((count + 1,), "int")
    samples.prefix(count, counts.ndarray, starts.ndarray)
    return starts


def ray_outputs(count: int) -> tuple[Array, Array, Array, Array]:
    """rgb [n, 3]; alpha, distance and spread [n, 1]."""
    return Array((count, 3)), Array((count, 1)), Array((count, 1)), Array((count, 1))
