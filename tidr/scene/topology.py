"""Which vertex, edge and face of a triangle mesh touch which: integer tables, made once per face list."""

from functools import cached_property

import numpy as np

from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.runtime import generation


class Topology:
    """Connectivity of `faces` [F, 3] over `vertex_count` vertices; every table is made when first asked for.

    All tables are int32 and sorted, so they depend on the faces alone. A corner is numbered `face * 3 + k`; the edge
    opposite corner k joins corners (k + 1) % 3 and (k + 2) % 3.

    Raises:
        SceneError: faces not [F, 3], or an index outside [0, vertex_count).
    """

    def __init__(self, faces, vertex_count: int) -> None:
        faces = np.ascontiguousarray(faces, np.int32)
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise SceneError("topology", f"faces have shape {faces.shape}, expected [F, 3]")
        if faces.size and (faces.min() < 0 or faces.max() >= vertex_count):
            raise SceneError("topology", f"a face index lies outside 0..{vertex_count - 1}", "check the face list")
        self.faces = faces
        self.vertex_count = int(vertex_count)
        self._device: dict[str, tuple[Buffer, ...]] = {}
        self._generation = -1

    @property
    def face_count(self) -> int:
        return len(self.faces)

    def device(self, name: str) -> tuple:
        """The int ndarrays of a table on the device (two for a CSR table), uploaded when first asked for."""
        if self._generation != generation():
            self._device, self._generation = {}, generation()
        if name not in self._device:
            tables = getattr(self, name)
            self._device[name] = tuple(_upload(table) for table in (tables if isinstance(tables, tuple) else (tables,)))
        return tuple(buffer.ndarray for buffer in self._device[name])

    @cached_property
    def _edge_table(self) -> tuple[np.ndarray, np.ndarray]:
        """(edges [E, 2], edge of each corner [F * 3])."""
        tail, head = np.roll(self.faces, -1, 1).ravel(), np.roll(self.faces, -2, 1).ravel()
        keys = np.minimum(tail, head).astype(np.int64) * self.vertex_count + np.maximum(tail, head)
        unique, corner_edge = np.unique(keys, return_inverse=True)
        span = max(self.vertex_count, 1)
        edges = np.stack([unique // span, unique % span], axis=1).astype(np.int32)
        return edges, corner_edge.ravel().astype(np.int32)

    @property
    def edges(self) -> np.ndarray:
        """[E, 2] vertices of each undirected edge, smaller first, sorted."""
        return self._edge_table[0]

    @property
    def face_edges(self) -> np.ndarray:
        """[F, 3] edge opposite each corner."""
        return self._edge_table[1].reshape(-1, 3)

    @cached_property
    def edge_corners(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [E + 1], corners): the corners `face * 3 + k` that face each edge, in face order."""
        return rows_of(self._edge_table[1], len(self.edges))

    @cached_property
    def edge_faces(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [E + 1], faces): the faces at each edge."""
        offsets, corners = self.edge_corners
        return offsets, corners // 3

    @cached_property
    def edge_face_count(self) -> np.ndarray:
        """[E] number of faces at each edge."""
        return np.diff(self.edge_corners[0])

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [V + 1], vertices [2E]): the vertices joined to each vertex by an edge, ascending."""
        offsets, order = rows_of(self.edges[:, ::-1].T.ravel(), self.vertex_count)
        return offsets, self.edges.T.ravel()[order]

    @cached_property
    def vertex_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [V + 1], edges [2E]): the edges at each vertex, in the order of `neighbours`."""
        offsets, order = rows_of(self.edges[:, ::-1].T.ravel(), self.vertex_count)
        return offsets, (order % max(len(self.edges), 1)).astype(np.int32)

    @cached_property
    def vertex_faces(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [V + 1], corners [3F]): the corners `face * 3 + k` at each vertex, in face order."""
        return rows_of(self.faces.ravel(), self.vertex_count)

    @cached_property
    def face_pairs(self) -> np.ndarray:
        """[P, 2] faces that share an edge, smaller first; an edge of n faces gives all n (n - 1) / 2 pairs."""
        offsets, faces = self.edge_faces
        counts = self.edge_face_count
        pairs = [np.zeros((0, 2), np.int32)]
        for count in np.unique(counts[counts > 1]):
            members = faces[offsets[:-1][counts == count][:, None] + np.arange(count)]
            first, second = np.triu_indices(count, 1)
            pairs.append(np.stack([members[:, first].ravel(), members[:, second].ravel()], axis=1))
        joined = np.concatenate(pairs)
        return joined[np.lexsort((joined[:, 1], joined[:, 0]))].astype(np.int32)

    @cached_property
    def face_face_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """CSR (offsets [F + 1], slots [2P]): for each face the numbers `pair * 2 + side` in which it takes part."""
        return rows_of(self.face_pairs.ravel(), self.face_count)

    @cached_property
    def opposite_faces(self) -> np.ndarray:
        """[F, 3] face across the edge opposite corner k, or -1 at a boundary or where more than two faces meet."""
        return self._across[0]

    @cached_property
    def opposite_vertices(self) -> np.ndarray:
        """[F, 3] vertex across the edge opposite corner k, or -1 at a boundary or where more than two faces meet."""
        return self._across[1]

    @cached_property
    def _across(self) -> tuple[np.ndarray, np.ndarray]:
        offsets, corners = self.edge_corners
        start = offsets[:-1][self.edge_face_count == 2]
        first, second = corners[start], corners[start + 1]
        faces = np.full(self.face_count * 3, -1, np.int32)
        vertices = faces.copy()
        faces[first], faces[second] = second // 3, first // 3
        flat = self.faces.ravel()
        vertices[first], vertices[second] = flat[second], flat[first]
        return faces.reshape(-1, 3), vertices.reshape(-1, 3)

    @cached_property
    def boundary_edges(self) -> np.ndarray:
        """Numbers of the edges with exactly one face."""
        return np.flatnonzero(self.edge_face_count == 1).astype(np.int32)

    @cached_property
    def crowded_edges(self) -> np.ndarray:
        """Numbers of the edges with more than two faces (not a manifold there)."""
        return np.flatnonzero(self.edge_face_count > 2).astype(np.int32)

    @cached_property
    def misoriented_edges(self) -> np.ndarray:
        """Numbers of the two-face edges that both faces run through in the same direction."""
        offsets, corners = self.edge_corners
        chosen = np.flatnonzero(self.edge_face_count == 2)
        tails = np.roll(self.faces, -1, 1).ravel()
        start = offsets[:-1][chosen]
        return chosen[tails[corners[start]] == tails[corners[start + 1]]].astype(np.int32)

    @property
    def closed(self) -> bool:
        """Whether every edge has exactly two faces."""
        return len(self.edges) > 0 and bool((self.edge_face_count == 2).all())

    @property
    def oriented(self) -> bool:
        """Whether the faces at every edge agree about their outside."""
        return len(self.crowded_edges) == 0 and len(self.misoriented_edges) == 0

    @cached_property
    def euler_characteristic(self) -> int:
        """V - E + F over the vertices that some face uses (2 for a sphere, 0 for a torus)."""
        return len(np.unique(self.faces)) - len(self.edges) + self.face_count

    @cached_property
    def components(self) -> np.ndarray:
        """[V] number of the connected piece of each vertex, counted from 0 in order of its first vertex."""
        label = np.arange(self.vertex_count)
        tail, head = self.edges.T
        while True:
            lowest = np.minimum(label[tail], label[head])
            np.minimum.at(label, label[tail], lowest)
            np.minimum.at(label, label[head], lowest)
            shorter = label[label]
            if (label[tail] == label[head]).all() and (shorter == label).all():
                return np.unique(label, return_inverse=True)[1].ravel().astype(np.int32)
            label = shorter


def rows_of(owners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR (offsets [count + 1], items): the positions at which each owner number stands in `owners`, ascending."""
    order = np.argsort(owners, kind="stable")
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=count), out=offsets[1:])
    return offsets.astype(np.int32), order.astype(np.int32)


def _upload(table: np.ndarray) -> Buffer:
    buffer = Buffer(table.shape, "int")
    if table.size:
        buffer.ndarray.from_numpy(np.ascontiguousarray(table, np.int32))
    return buffer
