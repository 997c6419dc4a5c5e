"""Solves (I + lambda L) x = b on a mesh, L its combinatorial Laplacian: factorised on a CPU, iterated on a GPU.

A factor is solved by a chain of substitutions, which a CPU does in a millisecond and a GPU cannot spread out.
"""

import numpy as np

from tidr.kernels import cholesky, linear_solve
from tidr.kernels.reduce import Split
from tidr.scene.topology import Topology, rows_of

from .. import runtime
from ..buffer import Buffer
from ..errors import GradientError
from .elimination import nested_dissection

LANDMARKS = 3
GPU_CHUNKS = 512
LAUNCHES_PER_LOOK = 4
LAUNCH_LIMIT = 4000


class MeshSolver:
    """`multiply(x, product)` and `solve(right, x)` over ndarrays [V, 3]; `lam` is lambda >= 0.

    The relative residual is that of rounding x to the running precision: about 2e-6 in f32 and 1e-14 in f64 at lambda
    19 (on a GPU in f64 1e-10). `guessed` says that x comes near the solution, from which a GPU starts.

    Raises:
        GradientError: (GPU) the iterations did not reach the residual.
    """

    def __init__(self, topology: Topology, lam: float) -> None:
        self._count, self._lam = topology.vertex_count, float(lam)
        self._rows = topology.device("neighbours")
        self._topology = topology  # keeps the tables
        self._method = _Factor(topology, self._lam) if runtime.on_cpu() else _Iterations(topology, self._lam)

    def multiply(self, x, product) -> None:
        linear_solve.multiply(*self._rows, self._count, self._lam, x, product)

    def solve(self, right, x, guessed: bool = False) -> None:
        self._method.solve(right, x, guessed)


class _Factor:
    """A sparse factor in f64, made once."""

    def __init__(self, topology: Topology, lam: float) -> None:
        self._count = count = topology.vertex_count
        order, branches = nested_dissection(topology.edges, _landmark_distances(topology))
        place = np.empty(count, np.int64)
        place[order] = np.arange(count)
        offsets, slots = rows_of(place[topology.edges].ravel(), count)
        rows = (Buffer.of(offsets), Buffer.of(place[topology.edges[:, ::-1]].ravel()[slots]))
        # Count the fill, then fill it
        parent, flag, filled, pattern = (Buffer((count,), "int") for _ in range(4))
        tree = (parent.ndarray, flag.ndarray, filled.ndarray)
        cholesky.count_fill(*(table.ndarray for table in rows), count, *tree)
        fill = np.asarray(filled.ndarray.to_numpy(), np.int64)
        total = int(fill.sum())
        self._columns = (Buffer.of(np.concatenate([[0], np.cumsum(fill)])), Buffer((total,), "int"))
        self._column_values, self._diagonal = Buffer((total,), "double"), Buffer((count,), "double")
        column_offsets, column_rows = (table.ndarray for table in self._columns)
        factor = (column_offsets, column_rows, self._column_values.ndarray, self._diagonal.ndarray)
        matrix = (*(table.ndarray for table in rows), count, lam)
        row = Buffer((count,), "double")
        cholesky.factorise(*matrix, *tree, pattern.ndarray, row.ndarray, *factor)
        # The same factor by rows
        row_offsets, slots = rows_of(column_rows.to_numpy()[:total], count)
        self._rows = (Buffer.of(row_offsets), Buffer.of(np.repeat(np.arange(count), fill)[slots]))
        self._row_values = Buffer((total,), "double")
        if total:
            self._row_values.ndarray.from_numpy(self._column_values.ndarray.to_numpy()[slots])
        self._order, self._branches = Buffer.of(order), Buffer.of(branches)
        self._branch_count = len(branches) - 1
        self._scratch = Buffer((count, 3), "double")

    def solve(self, right, x, guessed: bool) -> None:
        shape = (self._order.ndarray, self._branches.ndarray, self._branch_count, self._count)
        by_row = (*(table.ndarray for table in self._rows), self._row_values.ndarray)
        by_column = (*(table.ndarray for table in self._columns), self._column_values.ndarray)
        between = (self._diagonal.ndarray, right, self._scratch.ndarray, x)
        cholesky.substitute(*shape, *by_row, *by_column, *between)


class _Iterations:
    """Conjugate gradients; run twice, since the second start removes what rounding left of the first."""

    def __init__(self, topology: Topology, lam: float) -> None:
        self._matrix = (*topology.device("neighbours"), topology.vertex_count, lam)
        count = topology.vertex_count
        chunks = min(count, GPU_CHUNKS)
        self._parts = Split(chunks, -(-count // chunks), 1, chunks)
        self._tolerance = 1e-10 if runtime.current().precision == 64 else 1e-6
        self._vectors = [Buffer((count, 3)) for _ in range(5)]
        self._scalars, self._partial = Buffer((3, 9)), Buffer((chunks, 9))

    def solve(self, right, x, guessed: bool) -> None:
        if not guessed:
            x.fill(0.0)
        change, z, w, p, s = (buffer.ndarray for buffer in self._vectors)
        sums = (self._scalars.ndarray, self._partial.ndarray, *self._parts)
        for _ in range(2):
            linear_solve.begin(*self._matrix, self._tolerance, right, x, change, z, p, s, *sums)
            for launch in range(1, LAUNCH_LIMIT + 1):
                linear_solve.iterate(*self._matrix, change, z, w, p, s, *sums)
                if launch % LAUNCHES_PER_LOOK == 0:
                    found = self._scalars.ndarray.to_numpy()
                    if (found[0, 6:9] <= found[2, 0]).all():
                        break
            else:
                raise GradientError("LargeSteps", "the solve did not converge", "take a smaller lam")
            linear_solve.finish(self._matrix[2], change, x)


def _landmark_distances(topology: Topology) -> np.ndarray:
    """[V, LANDMARKS] distances in edges from vertices far apart from each other."""
    queue, distance = Buffer((topology.vertex_count,), "int"), Buffer((topology.vertex_count,), "int")
    found: list[np.ndarray] = []
    source = 0
    for _ in range(LANDMARKS + 1):
        rows = topology.device("neighbours")
        cholesky.walk(*rows, topology.vertex_count, source, queue.ndarray, distance.ndarray)
        found.append(distance.ndarray.to_numpy().astype(np.int64))
        source = int(np.minimum.reduce(found[1:] or found).argmax())
    return np.stack(found[1:], axis=1)
