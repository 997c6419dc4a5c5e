"""nvdiffrast's four primitives on plain arrays, without a scene (Laine et al. 2020), on tidr's tape.

Every operation takes numpy arrays, which are constants, `tidr.Parameter(array)`s, which get gradients, and what other
operations returned; it returns `tidr.Array`s with `.numpy()` and `.grad_numpy()`. Pictures have row 0 on top, as
everywhere in tidr (nvdiffrast has it at the bottom), and a texture's uv has its origin bottom left.
"""

from tidr.scene.topology import Topology

from .antialiasing import antialias
from .interpolation import interpolate
from .rasterization import peel, rasterize
from .texturing import Mips, mipmaps, texture

__all__ = ["Mips", "Topology", "antialias", "interpolate", "mipmaps", "peel", "rasterize", "texture"]
