"""Textures: a picture over uv space."""

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

WRAPS = ("repeat", "clamp", "mirror")
FILTERS = ("bilinear", "trilinear")


class Texture:
    """Texels [H, W, C] (linear; C is 1 or 3; row 0 on top) looked up at uv (origin bottom left, v up).

    filter "trilinear" chooses between mipmap levels by the pixel's footprint in uv; "bilinear" reads the base level.
    """

    def __init__(self, texels, wrap: str = "repeat", filter: str = "bilinear") -> None:
        texels = np.asarray(texels, np.float64)
        if texels.ndim == 2:
            texels = texels[..., None]
        if texels.ndim != 3 or texels.shape[2] not in (1, 3) or 0 in texels.shape:
            raise SceneError("texture", f"got shape {texels.shape}, expected [H, W, 1] or [H, W, 3]")
        if wrap not in WRAPS:
            raise SceneError("texture", f"wrap is {wrap!r}", f"choose one of {', '.join(WRAPS)}")
        if filter not in FILTERS:
            raise SceneError("texture", f"filter is {filter!r}", f"choose one of {', '.join(FILTERS)}")
        self.wrap, self.filter = wrap, filter
        self.texels = Parameter(texels, Constraint(clamp=(0.0, 1.0)))
