"""A volume, voxel grid, tetrahedra or field as the table of a scene file and the arrays of an .npz beside it."""

from typing import Any

import numpy as np

from tidr.errors import FileError

from .scene_grids import FIELDS

KEYS = {"Volume": "volume", "VoxelGrid": "voxels", "Tetrahedra": "tetrahedra"}


def grid_table(name: str, geometry: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """(key, what stands in its table beside the file, arrays of the file by name) of the geometry of node `name`.

    Raises:
        FileError: numbers that are not finite, or a geometry that no scene file can hold.
    """
    arrays = {key: parameter.numpy() for key, parameter in geometry.parameters().items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise FileError(f"{name}.{key}", "is not finite, so the scene is not written")
    kind = type(geometry).__name__
    for key, field in FIELDS.items():
        if kind == field:
            box = {"lower": geometry.lower.tolist(), "upper": geometry.upper.tolist()}
            return "field", {"type": key} | geometry.options | box, arrays
    if kind not in KEYS:
        raise FileError(name, f"a {kind} has no place in a scene file")
    arrays |= {"lower": np.asarray(geometry.lower, np.float64), "upper": np.asarray(geometry.upper, np.float64)}
    entries: dict[str, Any] = {}
    if kind == "Volume":
        entries = {"density_activation": geometry.density_activation}
        entries |= {"density_shift": geometry.density_shift} if geometry.density_activation == "softplus" else {}
    elif kind == "Tetrahedra":
        entries = {"shading": geometry.shading}
    elif "tsdf" in arrays:
        arrays["truncation"] = np.array(geometry.truncation)
    return KEYS[kind], entries, arrays
