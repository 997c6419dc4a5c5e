"""Which splats lie over which tiles of an image, near to far. No gradient."""

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.kernels import sort as sorting
from tidr.kernels.points import tile_lists as kernels

from .sorting import capacity, prefix_sum, sort_pairs

# Room for entries by (splats, tiles): it only grows, so that views of a fit that see more or less share their buffers.
_rooms: dict[tuple[int, int], int] = {}


class SplatLists:
    """Lists of splats for every tile of `tile` x `tile` pixels, by depth and, where that is equal, by number.

    Splats are sorted once by depth (rounded to 32 bits); their entries, one for every tile that a splat's box touches,
    then by tile, in an order that keeps that of depth. The same on every backend and for any number of threads.

    Tile t = (view * tiles_y + row of tiles) * tiles_x + column of tiles, `tiles` in all. On the device, as ndarrays of
    integers: start [tiles + 1], entries: tile t holds the splats entries[start[t]], ..., entries[start[t + 1] - 1].
    Every entry has a slot too, such that those of one splat are neighbours: slots[k] is that of entry k; those of splat
    `item` are first[item], first[item] + 1, ..., one for every tile of its box in scan order (`tiles_of` in the
    kernels counts them). An adjoint can so leave something for every entry and add it up splat by splat. `count` is how
    many entries there are, `capacity` the size of their arrays.

    Args:
        items: how many splats there are, those of view 0 first, the same number in each of `views` views.
        box: [items * 4] integers, first column, last column, first row and last row of the pixels that a splat may
            touch, inside the image; empty where a last is less than its first.
        depth: [items, 1] by which they are sorted, any real numbers.

    Raises:
        SceneError: 2^30 entries or more.
    """

    def __init__(
        self, items: int, views: int, height: int, width: int, box: Buffer, depth: Array, tile: int = 16
    ) -> None:
        self.items, self.tile = items, tile
        self.tiles_x, self.tiles_y = -(-width // tile), -(-height // tile)
        self.tiles = views * self.tiles_x * self.tiles_y
        self.box = box
        keys = Buffer((items,), "int")
        kernels.depth_keys(items, depth.value, keys.ndarray)
        _, order = sort_pairs(keys, items)
        counts = Buffer((items + 1,), "int")
        kernels.count(items, tile, order.ndarray, box.ndarray, counts.ndarray)
        prefix_sum(counts, 1, items)
        self.count = int(counts.ndarray[items])
        if self.count >= sorting.LARGEST:
            mend = "draw fewer views at once, a smaller picture or smaller splats"
            raise SceneError("renderer", "splats touch 2^30 tiles or more", mend)
        self.capacity = _room(items, self.tiles, self.count)
        tiles, owner = (Buffer((self.capacity,), "int") for _ in range(2))
        self._first = Buffer((items,), "int")
        where = (items, max(items // views, 1), tile, self.tiles_x, self.tiles_y)
        seen = (order.ndarray, box.ndarray, counts.ndarray)
        kernels.emit(*where, *seen, self._first.ndarray, tiles.ndarray, owner.ndarray)
        tiles, self._slots = sort_pairs(tiles, self.count, max((self.tiles - 1).bit_length(), 1))
        self._start, self._entries = Buffer((self.tiles + 1,), "int"), Buffer((self.capacity,), "int")
        sorting.segment_starts(self.count, self.tiles, tiles.ndarray, self._start.ndarray)
        kernels.arrange(self.count, self._slots.ndarray, owner.ndarray, self._entries.ndarray)

    @property
    def start(self):
        return self._start.ndarray

    @property
    def entries(self):
        return self._entries.ndarray

    @property
    def slots(self):
        return self._slots.ndarray

    @property
    def first(self):
        return self._first.ndarray


def _room(items: int, tiles: int, count: int) -> int:
    if len(_rooms) > 64:
        _rooms.clear()
    if count > _rooms.get((items, tiles), 0):
        _rooms[items, tiles] = capacity(count * 5 // 4)
    return _rooms.get((items, tiles), 1)
