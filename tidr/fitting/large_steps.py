"""Large steps: vertices moved through a smoothing solve, so that a coarse gradient does not crumple the mesh.

Nicolet, Jacobson, Jakob 2021, "Large steps in inverse rendering of geometry": u = (I + lambda L) v is optimised in
place of the vertices v, by Adam with one length for all entries; its gradient is (I + lambda L)^-1 dL/dv.
"""

from collections.abc import Iterator

import numpy as np

from tidr.kernels import optimize as kernels
from tidr.kernels.reduce import split
from tidr.scene.topology import Topology

from .. import runtime
from ..buffer import Buffer
from ..errors import SceneError
from ..parameter import FREE, Parameter
from .mesh_solver import MeshSolver
from .optimizers import Optimizer, adam_factors, limits


class LargeSteps(Optimizer):
    """Optimises the vertices of one or several meshes.

    Args:
        meshes: a `Mesh`, a `Node` that holds one, an iterable of these, or a vertex `Parameter` [V, 3] with `faces`.
        lam: smoothing; 0 is `UniformAdam`, and the larger it is the stiffer: at last the mesh only translates.
        faces: [F, 3], when `meshes` is a single `Parameter`.

    Vertices that something else writes (`.set`) are taken up at the next step; the moments stay. A mesh whose faces
    change wants a new optimizer.
    """

    moments = ("latent", "mean", "square")

    def __init__(
        self, meshes, lr: float, lam: float = 19.0, betas: tuple[float, float] = (0.9, 0.999), faces=None
    ) -> None:
        if lam < 0:
            raise SceneError("LargeSteps", f"lam is {lam}", "take 0 or more (19 by default)")
        self.lam, self.betas, self.eps = float(lam), (float(betas[0]), float(betas[1])), 1e-8
        found = [(v, t) for v, t in _with_topology(meshes, faces) if not v.constraint.fixed]
        self._solvers = [MeshSolver(topology, self.lam) for _, topology in found]
        self._seen: list[int | None] = [None] * len(found)
        self._slopes = [Buffer((v.rows, 3)) for v, _ in found]
        self._peaks = [Buffer((split(v.rows * 3, runtime.on_cpu()).chunks + 1, 1)) for v, _ in found]
        super().__init__([v for v, _ in found], lr)

    def advance(self) -> None:
        super().advance()
        self._seen = [p.version for p in self.parameters]

    def reset(self) -> None:
        super().reset()
        self._seen = [None] * len(self.parameters)

    def load_state(self, state) -> None:
        super().load_state(state)
        self._seen = [p.version for p in self.parameters]

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        number = self.parameters.index(parameter)
        solver, slopes, latent = self._solvers[number], self._slopes[number].ndarray, kept["latent"].ndarray
        if self._seen[number] != parameter.version:
            solver.multiply(parameter.value, latent)
        solver.solve(parameter.grad, slopes)
        count = parameter.rows
        data = (latent, slopes, kept["mean"].ndarray, kept["square"].ndarray, count, 3)
        factors = adam_factors(self.lr, self.betas, self.eps, self.steps)
        parts = split(count * 3, runtime.on_cpu())
        kernels.uniform_adam(*data, *factors, *parts, *limits(FREE), self._peaks[number].ndarray)
        solver.solve(latent, parameter.value, guessed=True)
        if parameter.constraint != FREE:
            kernels.settle(parameter.value, count, 3, *limits(parameter.constraint))


def _with_topology(meshes, faces) -> Iterator[tuple[Parameter, Topology]]:
    """(vertices, topology) of each mesh."""
    if isinstance(meshes, Parameter):
        if faces is None:
            raise SceneError("LargeSteps", f"{meshes.label} comes without faces", "pass faces=, or the mesh itself")
        if len(meshes.shape) != 2 or meshes.shape[1] != 3:
            raise SceneError("LargeSteps", f"{meshes.label} has shape {meshes.shape}, expected vertices [V, 3]")
        yield meshes, Topology(np.asarray(faces), meshes.rows)
    elif hasattr(meshes, "topology"):
        yield meshes.vertices, meshes.topology
    elif hasattr(meshes, "__iter__"):
        for mesh in meshes:
            yield from _with_topology(mesh, None)
    else:
        raise SceneError("LargeSteps", f"got {type(meshes).__name__}", "pass a mesh, a node, or vertices with faces=")
