"""What is known of a path between two steps of its replay (replay.py)."""

import taichi as ti

from ..transport import medium
from .medium_adjoint import PICK

GEOMETRY, SENSOR = 1, 2  # bits of `wants`: gradients to vertices, normals, uvs; to the sensor

# The state is two vectors, so that a kernel can put it aside between two steps. First the reals.
ORIGIN, WAY, BETA, REST = 0, 3, 6, 9  # ray, throughput, what the path still brings
PDF, ETA, U, V, DISTANCE = 12, 13, 14, 15, 16  # of the last direction; of the hit
LAST, LAST_U, LAST_V = 17, 20, 21  # where the path last changed its direction: a vertex, or the camera's ray's origin
RUN = 22  # gradient of the direction from there, from what has been met on the way
TO_X, TO_B = 25, 28  # gradients of the first vertex: place, barycentrics
TO_O, TO_D = 30, 33  # and of the camera's ray: origin but for what the first vertex makes of it, direction
REALS = 36  # a multiple of 3, as PICK is
# Whole numbers. FIXED: 1 where a mirror or clear boundary gave the direction, which does not change then. DELTA: 1
# where no light was sampled for it. MET counts vertices and not what the path went straight through, as DEPTH does.
TRIANGLE, DEPTH, PASSED, DELTA, FIXED, LAST_TRIANGLE, FIRST_TRIANGLE, ALIVE, MET = 0, 1, 2, 3, 4, 5, 6, 7, 8
MIRRORED, WHOLES = 9, 10  # 1 until a path that mirrors another has taken its turn
NOWHERE, INSIDE = -2, -3  # in place of a triangle: the path is still at the camera; INSIDE - medium: in a medium
PICKED = REALS + PICK  # where a medium's gradient is wanted, the picked place comes behind the rest of the state


def reals_of(mask: int) -> int:
    """How many reals a path's state has."""
    return PICKED if mask >> medium.LEARNS & 1 else REALS


@ti.func
def read(s: ti.template(), first: ti.template()):
    return ti.Vector([s[first], s[first + 1], s[first + 2]])


@ti.func
def write(s: ti.template(), first: ti.template(), value):
    for c in ti.static(range(3)):
        s[first + c] = value[c]


@ti.func
def fetch(mask: ti.template(), reals: ti.template(), wholes: ti.template(), row, s: ti.template(), k: ti.template()):
    """A state that was put aside."""
    for c in ti.static(range(reals_of(mask) // 3)):
        write(s, 3 * c, ti.Vector([reals[row, 3 * c], reals[row, 3 * c + 1], reals[row, 3 * c + 2]]))
    for c in ti.static(range(WHOLES)):
        k[c] = wholes[row, c]


@ti.func
def put_aside(
    mask: ti.template(), reals: ti.template(), wholes: ti.template(), row, s: ti.template(), k: ti.template()
):
    for c in ti.static(range(reals_of(mask) // 3)):
        for a in ti.static(range(3)):
            reals[row, 3 * c + a] = s[3 * c + a]
    for c in ti.static(range(WHOLES)):
        wholes[row, c] = k[c]


@ti.func
def embark(origin, direction, light, mirrored, s: ti.template(), k: ti.template()):
    """Of a state of zeros, that of a path that is about to leave the camera and brings `light`."""
    write(s, ORIGIN, origin)
    write(s, LAST, origin)
    write(s, WAY, direction)
    write(s, BETA, ti.Vector([1.0, 1.0, 1.0]))
    write(s, REST, light)
    s[ETA] = 1.0
    k[TRIANGLE], k[DEPTH], k[PASSED], k[DELTA], k[FIXED], k[LAST_TRIANGLE], k[FIRST_TRIANGLE], k[ALIVE], k[MET] = (
        NOWHERE, 0, 0, 1, 0, -1, -1, 1, 0,
    )  # fmt: skip
    k[MIRRORED] = mirrored
