"""What the rays of a path met, kept where it was traced, so that its gradient on a CPU need not follow them again.

A path's row of `paths` holds from column HITS on, for each of its first steps, what the path's ray met (triangle,
distance, u, v), and whether the ray to a light, from the vertex where it begins, was stopped (1, else 0). Steps are
numbered by vertices and surfaces passed. NOT_KEPT stands for what was not traced.
"""

import taichi as ti

HITS, SLOT = 10, 5  # first column; columns of a step
STEPS = 8  # so many are kept; deeper rays are followed again
COLUMNS = HITS + STEPS * SLOT
NOT_KEPT = -9.0


def given(paths) -> bool:
    """Whether there is an array at all: where there is None, all rays are followed, and nothing is kept."""
    return paths is not None


@ti.func
def keep(paths: ti.template(), row, step, shadow, triangle, distance, u, v):
    """Write what a ray met; shadow: 0 for the path's own, 1 for the first to a light."""
    column = HITS + step * SLOT
    if shadow <= 1 and column + SLOT <= paths.shape[1]:
        if shadow == 1:
            paths[row, column + 4] = ti.cast(triangle >= 0, ti.i32)
        else:
            paths[row, column], paths[row, column + 1] = triangle, distance
            paths[row, column + 2], paths[row, column + 3] = u, v
            if column + 2 * SLOT <= paths.shape[1]:
                paths[row, column + SLOT], paths[row, column + SLOT + 4] = NOT_KEPT, NOT_KEPT


@ti.func
def kept(paths: ti.template(), row, step, shadow):
    """(1 if it was kept what the ray met, triangle, distance, u, v); of rays to a light only if triangle >= 0."""
    known, triangle, distance, u, v = 0, -1, 0.0, 0.0, 0.0
    column = HITS + step * SLOT
    if column + SLOT <= paths.shape[1]:
        if shadow == 1:
            stopped = paths[row, column + 4]
            if stopped != NOT_KEPT:
                known, triangle = 1, ti.cast(stopped, ti.i32) - 1
        else:
            met = ti.cast(paths[row, column], ti.i32)
            if met >= -1:
                known, triangle, distance = 1, met, paths[row, column + 1]
                u, v = paths[row, column + 2], paths[row, column + 3]
    return known, triangle, distance, u, v
