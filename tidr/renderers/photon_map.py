"""Photons that are kept: in a file, for another picture of the same scene, or as points to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidr import runtime
from tidr.errors import FileError, SceneError
from tidr.files.arrays import read_arrays, write_arrays
from tidr.files.guard import DEFAULT, LARGEST_COORDINATE, Limits, at
from tidr.parameter import nearest
from tidr.scene.graph import Node
from tidr.scene.points import PointCloud

from .photon_grid import Photons

VECTORS = ("positions", "directions", "powers", "normals")
UNIT = ("directions", "normals")


@dataclass(frozen=True, eq=False)
class PhotonMap:
    """The `count` photons that landed of `emitted` ones; rows of `photons` behind them hold none."""

    photons: Photons
    count: int
    emitted: int

    def arrays(self) -> dict[str, np.ndarray]:
        """positions, directions (of flight, unit), powers (linear RGB) and normals [N, 3], caustic [N] (0 or 1)."""
        vectors = {name: getattr(self.photons, name).numpy()[: self.count] for name in VECTORS}
        return {**vectors, "caustic": self.photons.flags.ndarray.to_numpy()[: self.count] & 1}

    def save(self, path: str | Path) -> None:
        """Write an .npz with `arrays()` and the number `emitted`.

        Raises:
            FileError: another ending, or the file cannot be written.
        """
        if Path(path).suffix != ".npz":
            raise FileError(path, "photons are saved as .npz")
        kind = np.float64 if runtime.current().precision == 64 else np.float32
        arrays = {name: each.astype(np.uint8 if name == "caustic" else kind) for name, each in self.arrays().items()}
        write_arrays(path, **arrays, emitted=np.array(self.emitted))

    @classmethod
    def load(cls, path: str | Path, limits: Limits = DEFAULT) -> PhotonMap:
        """Read what `save` wrote.

        Raises:
            FileError: names the file and the array: missing, unknown, of another shape, not finite, no direction.
        """
        arrays = read_arrays(path, limits)
        known = (*VECTORS, "caustic", "emitted")
        for name in arrays:
            if name not in known:
                raise FileError(at(path, name), "is nothing that photons have", nearest(name, known))
        for name in known:
            if name not in arrays:
                raise FileError(at(path, name), "is missing", f"a photon map holds {', '.join(known)}")
        count = len(arrays["positions"]) if arrays["positions"].ndim else 0
        for name in VECTORS:
            _check(at(path, name), arrays[name], (count, 3), name)
        emitted, caustic = arrays["emitted"], arrays["caustic"]
        if emitted.shape != () or emitted.dtype.kind not in "iu" or not 1 <= int(emitted) <= 1 << 62:
            raise FileError(at(path, "emitted"), "is no count of photons", "give one whole number above 0")
        if caustic.shape != (count,) or not np.isin(caustic, (0, 1)).all():
            raise FileError(at(path, "caustic"), f"is no list of {count} marks", "give 0 or 1 for each photon")
        places, flights, powers, normals = (np.asarray(arrays[name], np.float64) for name in VECTORS)
        return cls(Photons.of(places, flights, powers, normals, caustic), count, int(emitted))

    def points(self, radius: float | None = None) -> Node:
        """A node of the photons as points in world space, to look at; each has its power's colour, the brightest 1.

        Raises:
            SceneError: there are no photons.
        """
        if self.count == 0:
            raise SceneError("photons", "none landed", "is there a light, and more than one surface?")
        arrays = self.arrays()
        brightest = max(float(arrays["powers"].max()), 1e-30)
        colors = np.clip(arrays["powers"] / brightest, 0.0, 1.0)
        return Node(PointCloud(arrays["positions"], colors=colors, normals=arrays["normals"], radii=radius))


def _check(where: str, array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise FileError(where, f"has the shape {array.shape}, expected {shape}")
    array = array.astype(np.float64)  # whole numbers have a lowest one of which there is no absolute value
    largest = LARGEST_COORDINATE if name == "positions" else np.finfo(np.float32).max
    if not (np.isfinite(array).all() and (np.abs(array) <= largest).all()):
        raise FileError(where, "has numbers that are not finite, or too large")
    if name in UNIT and not (np.abs(np.linalg.norm(array, axis=-1) - 1.0) < 1e-2).all():
        raise FileError(where, "has vectors that are not of length 1")
    if name == "powers" and (array < 0.0).any():
        raise FileError(where, "has powers below 0")
