"""Encodings, network, quadrature and sampling of fields, kernel by kernel."""

import numpy as np
import pytest

import tidr
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.kernels.field import BLOCK, composite, hash_grid, samples
from tidr.renderers.field_hash import HashEvaluator
from tidr.renderers.field_network import Evaluator, chunks_of
from tidr.runtime import current
from tidr.scene.field import FrequencyField, HashField

from .reference import field as twin


def real() -> type:
    return np.float64 if current().precision == 64 else np.float32


def flat(values) -> Buffer:
    array = np.ascontiguousarray(values).reshape(-1)
    made = Buffer(array.shape, "int" if array.dtype.kind == "i" else "real")
    made.ndarray.from_numpy(array.astype(np.int32 if array.dtype.kind == "i" else real()))
    return made


def blocks(columns: np.ndarray) -> np.ndarray:
    """[n, rows] as [blocks * rows * BLOCK]."""
    n, rows = columns.shape
    full = np.zeros((-(-n // BLOCK) * BLOCK, rows))
    full[:n] = columns
    return full.reshape(-1, BLOCK, rows).transpose(0, 2, 1)


def columns(buffer: Buffer, rows: int, n: int) -> np.ndarray:
    """The first n samples of [blocks * rows * BLOCK] as [n, rows]."""
    values = buffer.ndarray.to_numpy()
    whole = values[: -(-n // BLOCK) * BLOCK * rows].reshape(-1, rows, BLOCK)
    return whole.transpose(0, 2, 1).reshape(-1, rows)[:n]


def encoded(field: HashField, points: np.ndarray) -> tuple[HashEvaluator, np.ndarray]:
    evaluator = HashEvaluator(field, len(points))
    places = np.zeros((evaluator.capacity, 3))
    places[: len(points)] = points
    evaluator.samples.positions.ndarray.from_numpy(places.reshape(-1).astype(real()))
    evaluator.encode(field, len(points))
    return evaluator, columns(evaluator.values, field.network.rows, len(points))[:, : field.network.directions]


@pytest.mark.row(83)
def test_a_table_of_ones_makes_features_of_one_and_shares_the_gradient_out(backend):
    field = HashField(levels=5, log2_entries=8, base_resolution=3, finest_resolution=40, width=8)
    points = np.random.default_rng(0).random((200, 3))
    field.table.set(np.ones(field.table.shape))
    evaluator, found = encoded(field, points)
    assert np.allclose(found, 1, atol=1e-6)
    upstream = np.random.default_rng(1).normal(size=(200, 26))
    evaluator.to_inputs.ndarray.from_numpy(_padded(blocks(upstream), evaluator.to_inputs))
    field.table.zero_grad()
    evaluator.encode_adjoint(field, 200, True)
    gradient = field.table.grad_numpy().reshape(-1, 2)
    for level, (first, side, _, mask) in enumerate(field.levels):
        part = gradient[first : first + (mask + 1 if mask else side**3)]
        assert np.allclose(part.sum(0), upstream[:, 2 * level : 2 * level + 2].sum(0), atol=1e-3)
    assert np.abs(evaluator.to_positions.ndarray.to_numpy()[:600]).max() < 1e-3  # all corners are equal


def _padded(values: np.ndarray, buffer: Buffer) -> np.ndarray:
    full = np.zeros(buffer.ndarray.shape, real())
    full[: values.size] = values.reshape(-1)
    return full


@pytest.mark.row(83)
def test_a_level_without_collisions_is_trilinear_interpolation(backend):
    field = HashField(levels=1, features=1, log2_entries=12, base_resolution=8, finest_resolution=8, width=8)
    assert field.levels[0].tolist() == [0, 9, 7, 0]
    z, y, x = np.mgrid[:9, :9, :9]
    grid = 0.3 * x - 0.2 * y + 0.1 * z + 0.05 * x * y * z  # trilinear in each cell, so interpolation is exact
    field.table.set(grid.reshape(-1))
    points = np.random.default_rng(2).random((100, 3))
    at = points * 7 + 0.5
    expected = 0.3 * at[:, 0] - 0.2 * at[:, 1] + 0.1 * at[:, 2] + 0.05 * at.prod(1)
    assert np.allclose(encoded(field, points)[1][:, 0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.row(77)
@pytest.mark.parametrize("depth", [1, 5, 6])
def test_network_equals_the_twin(backend, depth):
    field = FrequencyField(width=7, depth=depth, octaves=1, direction_octaves=0)
    network, n = field.network, 90
    field.fine.set(np.random.default_rng(depth).normal(size=network.size) * 0.4)
    evaluator = Evaluator(network, n)
    first, kept = network.encoded
    inputs = np.random.default_rng(1).normal(size=(n, kept))
    rows = np.zeros((n, network.rows))
    rows[:, first : first + kept] = inputs
    evaluator.values.ndarray.from_numpy(_padded(blocks(rows), evaluator.values))
    evaluator.forward(field.fine, n)
    found = columns(evaluator.values, network.rows, n)
    density, color = twin.evaluate(network, field.fine.numpy(), {first: inputs})
    assert np.allclose(found[:, network.density], density, atol=1e-5)
    assert np.allclose(found[:, -3:], color, atol=1e-5)


@pytest.mark.row(77)
def test_quadrature_of_a_constant_density_is_exact(f64):
    n, length, sigma = 10, 1.0, 2.0
    raw = np.full((n, 1), np.log(sigma))
    values = flat(blocks(np.concatenate([raw, np.full((n, 3), 0.5)], 1)))
    rgb, alpha, far, spread = Array((1, 3)), Array((1, 1)), Array((1, 1)), Array((1, 1))
    lists = (flat(np.array([0, n])), flat((np.arange(n) + 0.5) / n), flat(np.full(n, length / n)))
    arrays = [buffer.ndarray for buffer in (*lists, values)]
    outputs = (rgb, alpha, far, spread)
    weights = Buffer((n,))
    composite.composite(0, 1, 1, 4, 0, 0.0, *arrays, *(o.value for o in outputs), weights.ndarray, 0)
    assert abs(alpha.numpy()[0, 0] - 0.8646647) < 1e-7
    assert np.allclose(rgb.numpy(), 0.5 * 0.8646647)
    for array, seed in zip(outputs, (0.0, 1.0, 0.0, 0.0), strict=True):
        array.grad.fill(seed)
    to_outputs, gaps = Buffer((4 * BLOCK,)), Buffer((1,))
    composite.composite_adjoint(
        0, 1, 1, 4, 0, 0.0, *arrays, *(o.value for o in outputs), *(o.grad for o in outputs), to_outputs.ndarray,
        gaps.ndarray, 0,
    )  # fmt: skip
    by_raw = columns(to_outputs, 4, n)[:, 0].sum()  # sigma d alpha / d sigma
    assert abs(by_raw / sigma - 0.1353353) < 1e-7
    assert abs(gaps.ndarray.to_numpy()[0] - 2 * 0.1353353) < 1e-7  # by log of the length


@pytest.mark.row(80)
def test_fine_samples_follow_the_coarse_weights(backend):
    """Kolmogorov-Smirnov against the piecewise constant distribution of weights + 1e-5."""
    number, extra = 12, 4000
    weights = np.random.default_rng(0).random(number) ** 4
    weights[3:6] = 0
    places = Buffer((extra,))
    starts = flat(np.array([0, 1]))
    samples.refine(0, 1, number, extra, 1, 7, starts.ndarray, flat(weights).ndarray, places.ndarray)
    found = places.ndarray.to_numpy()
    assert (np.diff(found) >= 0).all()
    chance = np.concatenate([[0], np.cumsum(weights + 1e-5)])
    expected = np.interp(found, np.arange(number + 1), chance / chance[-1])
    assert np.abs(expected - (np.arange(extra) + 0.5) / extra).max() < 1.95 / np.sqrt(extra)


@pytest.mark.row(80)
def test_merged_samples_are_sorted_and_fill_the_way_through_the_box(backend):
    number, extra = 5, 9
    o, d = Array.of(np.array([[-3.0, 0.1, 0.2], [4, 4, 4]])), Array.of(np.array([[1.0, 0.05, 0], [1, 0, 0]]))
    box = constant([(-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)])
    counts, starts = Buffer((2,), "int"), Buffer((3,), "int")
    samples.count_hits(2, o.value, d.value, box.value, counts.ndarray)
    samples.prefix(2, counts.ndarray, starts.ndarray)
    assert starts.ndarray.to_numpy().tolist() == [0, 1, 1]
    evaluator = Evaluator(FrequencyField(width=4, depth=1).network, 64)
    seen = (o.value, d.value, box.value, starts.ndarray)
    coarse = evaluator.samples
    samples.list_strata(0, 2, number, 1, 3, 1.0, 0.0, *seen, *coarse.arrays())
    coarse_times = coarse.times.ndarray.to_numpy()[:number].copy()
    places = flat(np.sort(np.random.default_rng(1).random(extra)) * number)
    fine = Evaluator(FrequencyField(width=4, depth=1).network, 64).samples
    samples.list_fine(
        0, 2, number, extra, 1.0, 0.0, *seen, coarse.times.ndarray, places.ndarray, *fine.arrays()
    )  # fmt: skip
    t, widths = (b.ndarray.to_numpy()[: number + extra] for b in (fine.times, fine.widths))
    assert (np.diff(t) >= 0).all()
    assert np.isin(coarse_times, t).all()
    assert np.allclose(widths[:-1], np.diff(t), atol=1e-6)
    assert np.allclose(t[-1] + widths[-1], 4, atol=1e-5)


def test_starts_are_the_sums_of_all_counts_before(backend):
    counts = np.random.default_rng(1).integers(0, 5, 5000)
    starts = Buffer((5001,), "int")
    samples.prefix(5000, flat(counts).ndarray, starts.ndarray)
    assert np.array_equal(starts.ndarray.to_numpy(), np.concatenate([[0], np.cumsum(counts)]))


def test_chunks_hold_every_ray_once_and_no_more_than_the_capacity(f32):
    counts = np.random.default_rng(0).integers(0, 9, 50)
    starts = flat(np.concatenate([[0], np.cumsum(counts)]))
    found = list(chunks_of(starts, 50, 20))
    assert [begin for begin, _, _ in found] == [0, *(end for _, end, _ in found[:-1])]
    assert found[-1][1] == 50
    assert all(total == counts[begin:end].sum() <= 20 for begin, end, total in found)


@pytest.mark.row(83)
def test_occupancy_marks_what_is_dense_and_its_neighbours(backend):
    field = HashField(levels=2, log2_entries=12, base_resolution=4, finest_resolution=8, width=16)
    rng = np.random.default_rng(0)
    field.table.set(rng.normal(size=field.table.shape))
    field.weights.set(rng.normal(size=field.weights.shape))
    evaluator = HashEvaluator(field, 1)
    grid = evaluator.occupied(field, 3.0).ndarray.to_numpy().reshape(32, 32, 32)
    z, y, x = np.mgrid[:32, :32, :32]
    points = (np.stack([x, y, z], -1).reshape(-1, 3) + 0.5) / 32
    inputs = {0: twin.hash_encode(field, field.table.numpy().astype(float), points)}
    raw, _ = twin.evaluate(field.network, field.weights.numpy().astype(float), inputs)
    dense = np.pad((np.exp(raw) > 3.0).reshape(32, 32, 32), 1)
    expected = np.zeros((32, 32, 32), bool)
    for k in range(27):
        expected |= dense[k // 9 :, k // 3 % 3 :, k % 3 :][:32, :32, :32]
    assert 0.05 < expected.mean() < 0.95
    assert (grid.astype(bool) != expected).mean() < 1e-3  # densities next to the threshold


def test_hash_uses_unsigned_arithmetic(f32):
    """Large coordinates overflow 32 bits; the twin hashes with 64-bit integers."""
    field = HashField(levels=1, log2_entries=10, base_resolution=1000, finest_resolution=1000, width=4)
    assert field.levels[0, 3] == 1023
    points = np.random.default_rng(0).random((500, 3)).astype(np.float32).astype(np.float64)
    values = np.random.default_rng(1).normal(size=field.table.shape)
    field.table.set(values)
    expected = twin.hash_encode(field, values, points)
    assert np.abs(encoded(field, points)[1] - expected).max() < 5e-3
    assert hash_grid.PRIMES == twin.PRIMES


def test_byte_size_counts_all_parameters(f32):
    field = tidr.scene.field.HashField(levels=2, log2_entries=6)
    assert field.byte_size() == 4 * (field.table.shape[0] + field.weights.shape[0])
