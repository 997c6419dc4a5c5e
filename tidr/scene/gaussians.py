"""Clouds of 3D Gaussians, as 3D Gaussian splatting draws and trains them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Parameter

from .points import point_rows

ENCODINGS = ("linear", "srgb")
HARMONICS = (1, 4, 9, 16)  # coefficients up to degree 0 to 3
SH_0 = 0.28209479177387814  # the harmonic of degree 0, sqrt(1 / (4 pi))


class Gaussians:
    """N anisotropic Gaussians in object space (Kerbl, Kopanas, Leimkuehler and Drettakis 2023).

    Parameters:
        means: [N, 3].
        log_scales: [N, 3] natural logarithms of the standard deviations along the axes, object units.
        rotations: [N, 4] quaternions (w first) that turn the axes; they need not have length 1.
        opacity_logits: [N, 1]; opacity = sigmoid.
        sh_dc: [N, 3] coefficient of degree 0 of each colour channel; radiance = max(0, 1/2 + sum_k sh_k Y_k(d)), where
            d is the direction from the camera to the mean, in object space.
        sh_rest: [N, K - 1, 3] the coefficients of degree 1 to `sh_degree`, K = (sh_degree + 1)^2; only if that is > 0.

    encoding: "linear", or "srgb" where the colours are those of a screen, as most programs have them: tidr blends such
        Gaussians in those values, too, and decodes the picture; beside meshes and volumes ("hybrid") every colour.
    active_degree: up to which degree the harmonics are drawn, `sh_degree` unless set lower (training raises it).
    statistics: where a renderer adds what density control asks for (a `SplatStatistics`); None notes nothing.

    Raises:
        SceneError: wrong shape (names the argument), no Gaussian, not finite, a quaternion of length 0,
            another encoding.
    """

    def __init__(
        self, means, log_scales, rotations, opacity_logits, sh_dc, sh_rest=None, encoding: str = "linear"
    ) -> None:
        means = point_rows("means", means, 3)
        count = len(means)
        if count == 0:
            raise SceneError("means", "holds no Gaussian", "give at least one")
        rotations = point_rows("rotations", rotations, 4, count)
        none = np.linalg.norm(rotations, axis=1) == 0
        if none.any():
            raise SceneError("rotations", f"row {int(none.argmax())} has length 0", "give quaternions, w first")
        if encoding not in ENCODINGS:
            raise SceneError("encoding", f"is {encoding!r}", f"choose one of {', '.join(ENCODINGS)}")
        logits = np.asarray(opacity_logits, np.float64)
        self.means = Parameter(means)
        self.log_scales = Parameter(point_rows("log_scales", log_scales, 3, count))
        self.rotations = Parameter(rotations)
        logits = point_rows("opacity_logits", logits[:, None] if logits.ndim == 1 else logits, 1, count)
        self.opacity_logits = Parameter(logits)
        self.sh_dc = Parameter(point_rows("sh_dc", sh_dc, 3, count))
        self.sh_rest = None if sh_rest is None else Parameter(_harmonics(sh_rest, count))
        self.encoding = encoding
        self.active_degree = self.sh_degree
        self.statistics: Any = None

    @classmethod
    def from_colors(
        cls, means, colors, scales, rotations=None, opacities: float | np.ndarray = 0.1, sh_degree: int = 0,
        encoding: str = "linear",
    ) -> Gaussians:  # fmt: skip
        """Gaussians that look alike from all sides.

        Args:
            means [N, 3]; colors [N, 3], RGB of that encoding; scales [N, 3], [N] or one standard deviation, object
            units; rotations [N, 4], none turned when None; opacities in (0, 1); sh_degree 0 to 3, harmonics of which
            are 0.

        Raises:
            SceneError: as the constructor, or scales, opacities or degree out of range.
        """
        means, colors = point_rows("means", means, 3), point_rows("colors", colors, 3)
        count = len(means)
        scales = np.asarray(scales, np.float64)
        scales = np.broadcast_to(scales.reshape(-1, 1), (count, 3)) if scales.ndim < 2 else scales
        share = np.broadcast_to(np.asarray(opacities, np.float64).reshape(-1, 1), (count, 1))
        if not (scales > 0).all():
            raise SceneError("scales", f"holds {scales.min():g}", "give standard deviations above 0")
        if not ((share > 0) & (share < 1)).all():
            raise SceneError("opacities", f"span {share.min():g} to {share.max():g}", "give opacities between 0 and 1")
        if sh_degree not in (0, 1, 2, 3):
            raise SceneError("sh_degree", f"is {sh_degree}", "give 0 to 3")
        turned = np.tile([1.0, 0, 0, 0], (count, 1)) if rotations is None else rotations
        rest = np.zeros((count, HARMONICS[sh_degree] - 1, 3)) if sh_degree else None
        logits = np.log(share / (1 - share))
        return cls(means, np.log(scales), turned, logits, (colors - 0.5) / SH_0, rest, encoding)

    @property
    def count(self) -> int:
        return self.means.rows

    @property
    def sh_degree(self) -> int:
        """Of the harmonics that are stored."""
        return 0 if self.sh_rest is None else HARMONICS.index(self.sh_rest.shape[1] + 1)

    def parameters(self) -> dict[str, Parameter]:
        names = ("means", "log_scales", "rotations", "opacity_logits", "sh_dc", "sh_rest")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def scales(self) -> np.ndarray:
        """[N, 3] standard deviations, object units."""
        return np.exp(self.log_scales.numpy())

    def opacities(self) -> np.ndarray:
        """[N, 1] in (0, 1)."""
        return 1 / (1 + np.exp(-self.opacity_logits.numpy()))

    def covariances(self) -> np.ndarray:
        """[N, 3, 3] in object space."""
        axes = rotation_matrices(self.rotations.numpy()) * self.scales()[:, None, :]
        return axes @ axes.transpose(0, 2, 1)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the box of the means, object space."""
        means = self.means.numpy()
        return means.min(0), means.max(0)

    def byte_size(self) -> int:
        """Bytes of all values in 32-bit numbers."""
        return sum(4 * parameter.rows * parameter.channels for parameter in self.parameters().values())


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """[N, 3, 3] of quaternions [N, 4], w first, of any length but 0."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _harmonics(array, count: int) -> np.ndarray:
    array = np.asarray(array, np.float64)
    if array.ndim != 3 or array.shape[1] + 1 not in HARMONICS[1:] or array.shape[2] != 3 or len(array) != count:
        raise SceneError("sh_rest", f"got shape {array.shape}, expected [{count}, 3, 8 or 15, 3]")
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array).all((1, 2))).argmax())
        raise SceneError("sh_rest", f"row {row} is not finite", "give finite numbers")
    return array
