"""Mitsuba's media as volumes: of one density in a cube, or of a grid, which no shape may cut."""

from typing import Any

import numpy as np

from .guard import Limits
from .imported import Imported, decomposed
from .mitsuba_items import Book, Item
from .volume import VolumeData, read_volume

SLACK = 1e-4  # by which a grid may stand out of its shape


def add_medium(scene: Imported, book: Book, shape: Item, medium: Item, matrix: np.ndarray, limits: Limits) -> None:
    """The inside of a shape under a matrix [4, 4] as a node with a volume."""
    grids = dict(medium.nested(book, "volume"))
    table: dict[str, Any] = {"uniform": ["albedo"], "g": _g(scene, book, medium)}
    albedo = np.minimum(_value(scene, medium, grids, "albedo", 0.75), 1.0).tolist()
    scale, density = medium.number("scale", 1.0, 0.0), grids.get("sigma_t")
    if density is not None and density.type == "gridvolume":
        inside = density.transform()
        placed, reason = decomposed(inside), _cut(shape, matrix, inside)
        if placed is None or reason:
            scene.note(density.place, reason or "a grid under a shear is left out")
            density.seen.update(density.values)
            return
        held = {"density": _grid(scene, density, limits) * np.float32(scale)}
        table |= {"file": scene.hold_volume(VolumeData(held)), "lower": [0.0] * 3, "upper": [1.0] * 3}
    else:
        placed = decomposed(matrix)
        if shape.type != "cube" or placed is None or medium.type not in ("homogeneous", "heterogeneous"):
            scene.note(medium.place, f"even media are read in cubes that are not sheared, {shape.type} is left empty")
            medium.seen.update([*medium.values, *(name for name, _ in medium.children)])
            return
        sigma = scale * _value(scene, medium, grids, "sigma_t", 1.0)
        if np.ptp(sigma) > 1e-6 * sigma.max():
            scene.note(medium.place, f"sigma_t is {sigma.tolist()}, taken as its mean in all colours")
        table |= {"resolution": [1, 1, 1], "density": float(sigma.mean()), "lower": [-1.0] * 3, "upper": [1.0] * 3}
    scene.add("nodes", f"{shape.name}_medium", {"volume": table | {"albedo": albedo}, **placed})


def _cut(shape: Item, matrix: np.ndarray, grid: np.ndarray) -> str:
    """Why the shape under a matrix cuts the unit cube under another; "" where it does not."""
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
    inside = (corners @ grid.T @ np.linalg.pinv(matrix).T)[:, :3]
    far = {"cube": np.abs(inside).max(), "sphere": np.linalg.norm(inside, axis=1).max()}.get(shape.type, np.inf)
    return "" if far <= 1 + SLACK else "grids are read where a cube or sphere holds them whole; left out"


def _grid(scene: Imported, item: Item, limits: Limits) -> np.ndarray:
    """[D, H, W] f32 of a grid's file, or of its array [D, H, W] or [D, H, W, 1] in a dictionary."""
    if item.get("data") is None:
        path = item.file("filename", limits)
        if path.suffix.lower() != ".vol":
            raise item.fault(f"filename is {path.name!r:.60}", "give a .vol")
        found = read_volume(path, limits).grids.get("density")
        if found is None:
            raise item.fault("its file holds colours", "give densities, one number a cell")
    else:
        found = np.asarray(item.get("data"))
        found = found[..., 0] if found.ndim == 4 and found.shape[3] == 1 else found
        if found.ndim != 3 or found.dtype.kind not in "iuf" or 0 in found.shape:
            raise item.fault(f"data has shape {found.shape}, expected [D, H, W]")
    if item.text("wrap_mode", "clamp") != "clamp" or item.text("filter_type", "trilinear") != "trilinear":
        scene.note(item.place, "is read as trilinear and clamped")
    item.seen.update(("raw", "accel", "use_grid_bbox"))
    if (found < 0).any():
        scene.note(item.place, "negative densities are taken as 0")
    return np.maximum(found, 0).astype(np.float32)


def _value(scene: Imported, medium: Item, grids: dict[str, Item], key: str, default: float) -> np.ndarray:
    """[3] of a value, or of a constvolume that stands for it."""
    grid = grids.get(key)
    if grid is None:
        return medium.color(key, default)
    if grid.type != "constvolume":
        scene.note(grid.place, f"{key} that varies is taken as {default:g}")
        grid.seen.update(grid.values)
        return np.full(3, default)
    return grid.color("value", default)


def _g(scene: Imported, book: Book, medium: Item) -> float:
    for _, phase in medium.nested(book, "phase", ""):
        if phase.type == "hg":
            return phase.number("g", 0.8, -0.99, 0.99)
        if phase.type != "isotropic":
            scene.note(phase.place, f"no phase function {phase.type!r:.60}, light scatters evenly")
    return 0.0
