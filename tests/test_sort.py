"""Radix sort, prefix sums and tile lists of splats, each against numpy."""

import numpy as np
import pytest

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.sort import LARGEST, segment_starts
from tidr.renderers.sorting import capacity, prefix_sum, sort_pairs
from tidr.renderers.splat_lists import SplatLists

from .conftest import start

SIZES = [0, 1, 2, 513, 4097, 100_000]


@pytest.fixture(params=["cpu", "cpu-f64", "vulkan"])
def backend(request):
    """Both precisions, and the digits of a GPU."""
    return start(request.param.split("-")[0], 64 if request.param.endswith("f64") else 32)


def buffer(numbers: np.ndarray) -> Buffer:
    made = Buffer((max(numbers.size, 1),), "int")
    if numbers.size:
        made.ndarray.from_numpy(numbers.astype(np.uint32).view(np.int32))
    return made


def words(held: Buffer, count: int) -> np.ndarray:
    return held.ndarray.to_numpy()[:count].view(np.uint32)


@pytest.mark.parametrize("size", SIZES)
def test_sorts_as_a_stable_argsort(backend, size):
    rng = np.random.default_rng(size)
    kinds = {
        "random": rng.integers(0, 1 << 32, size, dtype=np.uint64),
        "duplicates": rng.integers(0, 7, size) * 0x2000_0001,
        "equal": np.full(size, 0xFFFF_FFFF),
        "sorted": np.arange(size),
        "falling": np.arange(size)[::-1],
    }
    for name, keys in kinds.items():
        expected = np.argsort(keys, kind="stable")
        source = buffer(keys)
        found_keys, order = sort_pairs(source, size)
        assert (words(order, size) == expected).all(), name
        assert (words(found_keys, size) == keys[expected]).all(), name
        assert (words(source, size) == keys).all(), "the keys given were overwritten"


@pytest.mark.parametrize("bits", [1, 5, 10, 12, 17, 32])
def test_sorts_payloads_by_keys_of_few_bits(backend, bits):
    rng = np.random.default_rng(bits)
    keys, values = rng.integers(0, 1 << bits, 5000), rng.integers(0, 1 << 32, 5000)
    _, found = sort_pairs(buffer(keys), 5000, bits, buffer(values))
    assert (words(found, 5000) == values[np.argsort(keys, kind="stable")]).all()


@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (1, 513), (1, 100_000), (7, 300), (2, 2048)])
def test_prefix_sums(backend, shape):
    values = np.random.default_rng(3).integers(0, 50, shape)
    held = buffer(np.append(values.reshape(-1), 0))
    prefix_sum(held, *shape)
    sums = np.append(0, np.cumsum(values.T))
    assert (words(held, values.size + 1) == np.append(sums[:-1].reshape(shape[::-1]).T, sums[-1])).all()


def test_prefix_sums_end_before_they_overflow(backend):
    held = buffer(np.append(np.full(6000, LARGEST), 0))
    prefix_sum(held, 1, 6000)
    assert (words(held, 6001) == np.append(0, np.full(6000, LARGEST))).all()


def test_segments_of_sorted_keys(backend):
    keys, found = np.array([0, 0, 2, 2, 2, 5]), Buffer((8,), "int")
    segment_starts(6, 7, buffer(keys).ndarray, found.ndarray)
    assert words(found, 8).tolist() == [0, 2, 2, 5, 5, 5, 6, 6]


def random_boxes(rng, items: int, height: int, width: int) -> np.ndarray:
    """[items, 4] first and last column, first and last row; one in five is empty, one in fifty the whole image."""
    low = rng.integers(0, (width, height), (items, 2))
    high = np.minimum(low + rng.integers(0, 40, (items, 2)), (width - 1, height - 1))
    boxes = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], -1)
    boxes[rng.random(items) < 0.02] = [0, width - 1, 0, height - 1]
    empty = rng.random(items) < 0.2
    boxes[empty, rng.choice([1, 3], items)[empty]] = -1
    return boxes


@pytest.mark.parametrize(("views", "each", "tile"), [(1, 700, 16), (3, 250, 16), (2, 40, 8), (1, 1, 16)])
def test_lists_equal_a_search_through_all_splats(backend, views, each, tile):
    height, width, items = 70, 101, views * each
    rng = np.random.default_rng(each)
    boxes = random_boxes(rng, items, height, width)
    depth = rng.choice([0.5, 1.25, 3.0, -2.0], items) + rng.integers(0, 20, items)  # many are equal
    lists = SplatLists(items, views, height, width, buffer(boxes.reshape(-1)), Array.of(depth[:, None]), tile)
    first, entries, slots = (array.to_numpy() for array in (lists.first, lists.entries, lists.slots))
    starts = lists.start.to_numpy()
    order = np.argsort(depth, kind="stable")
    left, right, top, bottom = boxes.T
    filled = (left <= right) & (top <= bottom)
    used = np.zeros(lists.count, int)
    across, down = -(-width // tile), -(-height // tile)
    assert lists.tiles == views * across * down
    for t in range(lists.tiles):
        view, row, column = t // (across * down), t // across % down, t % across
        touches = filled & (left // tile <= column) & (column <= right // tile)
        touches &= (top // tile <= row) & (row <= bottom // tile) & (np.arange(items) // each == view)
        held = slice(starts[t], starts[t + 1])
        assert (entries[held] == order[touches[order]]).all()
        for item, slot in zip(entries[held], slots[held], strict=True):
            wide = right[item] // tile - left[item] // tile + 1
            assert slot == first[item] + (row - top[item] // tile) * wide + column - left[item] // tile
            used[slot] += 1
    assert starts[-1] == lists.count
    assert (used == 1).all()


def test_lists_of_nothing(backend):
    boxes = np.tile([3, 2, 0, 5], (4, 1))
    lists = SplatLists(4, 1, 20, 20, buffer(boxes.reshape(-1)), Array.of(np.ones((4, 1))))
    assert lists.count == 0
    assert not lists.start.to_numpy().any()


def test_capacity_grows_by_steps():
    sizes = np.arange(1, 1 << 20, 977)
    room = np.array([capacity(size) for size in sizes])
    assert (room >= sizes).all()
    assert (room <= np.maximum(sizes * 1.25, 2048 + sizes)).all()
    assert len(set(room)) < 60
