"""Point clouds and Gaussians of a scene file: what may stand in their tables."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from .scene_faults import Faults, read_table
from .scene_grids import Grid
from .scene_types import Light3, Positive, Table, Vector3

KEYS = ("points", "gaussians")
LARGEST_COUNT = 20_000_000
LARGEST_SEED = 2**31 - 1


class CloudTable(Table):
    """From a file, or `count` random places in the box from `lower` to `upper`, all of one colour."""

    file: str | None = None
    count: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    lower: Vector3 = Field(default_factory=lambda: [-1.0] * 3)
    upper: Vector3 = Field(default_factory=lambda: [1.0] * 3)
    color: Light3 = Field(default_factory=lambda: [0.5] * 3)
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0


class PointsTable(CloudTable):
    """A point cloud; `radius` (object units) and `opacity` are those of every point, none when not given.

    With `sphere`, a radius, the places are spread evenly over a sphere in the middle of the box; they have normals.
    """

    sphere: Positive | None = None
    radius: Positive | None = None
    opacity: Annotated[float, Field(ge=0, le=1)] | None = None


class GaussiansTable(CloudTable):
    """Gaussians; `points` names a point cloud or COLMAP model at whose points they stand. They are round, and as large
    as the mean distance to their three nearest neighbours. `encoding`: "srgb" for colours as screens and other
    splatting programs have them, blended as such; without it as the file says, else "linear"."""

    points: str | None = None
    encoding: Literal["linear", "srgb"] | None = None
    sh_degree: Annotated[int, Field(ge=0, le=3)] = 0
    opacity: Annotated[float, Field(gt=0, lt=1)] = 0.1


TABLES: dict[str, type[CloudTable]] = {"points": PointsTable, "gaussians": GaussiansTable}


def read_cloud(key: str, raw: object, path: Sequence[object], faults: Faults) -> Grid | None:
    """The value of one of KEYS, the name of a file or a table; None with faults noted."""
    if isinstance(raw, str):
        return Grid(key, TABLES[key](file=raw), (key,))
    table = read_table(TABLES[key], raw, path, faults)
    if table is None:
        return None
    before, given = faults.count, table.model_fields_set
    sources = [name for name in ("file", "count", "points") if name in TABLES[key].model_fields]
    found = [name for name in sources if name in given]
    if len(found) != 1:
        faults.add(path, f"give exactly one of {', '.join(sources)}")
    else:
        apart = {"points": given & {"lower", "upper", "color", "seed"}, "sphere": {"seed"}}
        apart["file"] = given - {"file", "encoding"}
        for source in given & {found[0], "sphere"}:
            for name in sorted(apart.get(source, set()) & given):
                faults.add([*path, name], f"stands beside {source}, which gives it already")
    if not all(low < high for low, high in zip(table.lower, table.upper, strict=True)):
        faults.add([*path, "lower"], f"is {table.lower}, expected less than upper = {table.upper} in every axis")
    return Grid(key, table, (key, found[0] if found else "file")) if faults.count == before else None
