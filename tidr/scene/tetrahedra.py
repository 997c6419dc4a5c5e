"""Deformable tetrahedral grids (DMTet): a signed distance at every node, and the surface where it is zero."""

import numpy as np

from tidr.array import Array
from tidr.errors import SceneError
from tidr.kernels.implicit import marching_tetrahedra
from tidr.parameter import Parameter
from tidr.runtime import current, generation

from .extraction import Extraction
from .mesh import SHADINGS
from .voxels import Cells, cell_centers

BOX = 2.1  # edge of the box in which DMTet's offsets reach 1 / resolution


class Tetrahedra:
    """Nodes at the corners of D x H x W cubes in the object-space box `lower`..`upper`, each cube cut into six.

    After Shen, Gao, Yin, Liu, Fidler 2021, "Deep Marching Tetrahedra". The surface is extracted anew at every render:
    each edge between a node inside and one outside carries a vertex at the zero of the linear function between them.
    Which edges those are has no gradient; where the vertices lie on them has one, to both parameters.

    Parameters:
        sdf: [D + 1, H + 1, W + 1] (z, y, x), negative inside.
        offsets: [D + 1, H + 1, W + 1, 3]; a node moves by cell / 2.1 * tanh(offset), 1 / resolution in DMTet's box.

    shading: "smooth" or "flat". The surface is open where the inside reaches the border of the box.

    Raises:
        SceneError: wrong shapes, fewer than one cube, a box of no extent, values that are not finite.
    """

    def __init__(self, sdf, offsets=None, lower=(-1, -1, -1), upper=(1, 1, 1), shading: str = "smooth") -> None:
        sdf = np.asarray(sdf, np.float64)
        if sdf.ndim != 3 or min(sdf.shape) < 2:
            raise SceneError("tetrahedra.sdf", f"got shape {sdf.shape}, expected [D + 1, H + 1, W + 1] of at least 2")
        cell_centers(sdf.shape, lower, upper)  # checks the box
        self.lower, self.upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        self.resolution = tuple(n - 1 for n in sdf.shape)  # D, H, W
        offsets = np.zeros((*sdf.shape, 3)) if offsets is None else np.asarray(offsets, np.float64)
        if offsets.shape != (*sdf.shape, 3):
            raise SceneError("tetrahedra.offsets", f"got shape {offsets.shape}, expected {(*sdf.shape, 3)}")
        if shading not in SHADINGS[:2]:
            raise SceneError("tetrahedra.shading", f"is {shading!r}", f"choose one of {', '.join(SHADINGS[:2])}")
        self.sdf = Cells(sdf)
        self.offsets = Parameter(offsets)
        self.shading = shading
        unit, self.tetrahedra = marching_tetrahedra.grid(self.resolution)
        self.points = self.lower + unit * (self.upper - self.lower)  # [N, 3]
        self.reach = (self.upper - self.lower) / np.array(self.resolution[::-1]) / BOX
        self._found: tuple[np.ndarray, Extraction] | None = None
        self._device: tuple[int, Array] | None = None

    def parameters(self) -> dict[str, Parameter]:
        return {"sdf": self.sdf, "offsets": self.offsets}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the object-space box, with room for the offsets."""
        return self.lower - self.reach, self.upper + self.reach

    def byte_size(self) -> int:
        """Bytes of all values, without gradients."""
        return 4 * self.sdf.rows * (current().precision // 8)

    def extraction(self) -> Extraction:
        """The triangles of the surface as the distances are now; the same object until one of them changes sign."""
        inside = self.sdf.host().ravel() < 0
        if self._found is None or not np.array_equal(self._found[0], inside):
            ends, faces = marching_tetrahedra.find(inside, self.tetrahedra)
            self._found = (inside, Extraction(ends, ends, faces, self.shading))
        return self._found[1]

    def nodes(self) -> Array:
        """[N, 3] the nodes at rest, on the device."""
        if self._device is None or self._device[0] != generation():
            self._device = (generation(), Array.of(self.points, needs_grad=False))
        return self._device[1]
