"""What a mesh file holds: arrays and materials, before any of it becomes a Parameter. Numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COLOR_SLOTS = ("albedo", "specular")


@dataclass(frozen=True, eq=False)
class MaterialData:
    """A material as a file gives it.

    type: "lambert", "phong", "blinn_phong" or "metallic_roughness". values: for each slot (albedo, specular, shininess,
    roughness, metallic) a number, a linear RGB triple, the `Path` of a picture, or a linear picture
    [H, W, 3] (albedo, specular) or [H, W, 1] (the others), f32, row 0 on top.
    """

    name: str
    type: str = "lambert"
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MeshData:
    """A triangle mesh as a file gives it.

    Positions are welded: uvs and normals have index arrays of their own, so a uv seam does not cut the surface. Colours
    are linear RGB; uv has its origin bottom left, v up. Triangle `quads[i]` and the next one were a quad.
    """

    vertices: np.ndarray  # [V, 3] f64, object space
    faces: np.ndarray  # [F, 3] int32, counter-clockwise seen from outside
    uvs: np.ndarray | None = None  # [T, 2] f64
    uv_faces: np.ndarray | None = None  # [F, 3] int32 into uvs
    normals: np.ndarray | None = None  # [N, 3] f64, unit
    normal_faces: np.ndarray | None = None  # [F, 3] int32 into normals
    colors: np.ndarray | None = None  # [V, 3] f64, linear
    face_materials: np.ndarray | None = None  # [F] int32 into materials
    materials: tuple[MaterialData, ...] = ()
    quads: np.ndarray | None = None  # [Q] int32 into faces
