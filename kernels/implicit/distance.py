"""Distance of a grid's cell centres to the nearest of some triangles."""

import taichi as ti

from ..accumulate import load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def segment(p, a, b):
    """Squared distance of p and the segment from a to b."""
    along, to = b - a, p - a
    length = along.norm_sqr()
    at = 0.0
    if length > 0.0:
        at = ti.max(0.0, ti.min(1.0, to.dot(along) / length))
    return (to - at * along).norm_sqr()


@ti.func
def triangle(p, a, b, c):
    """Squared distance of p and a triangle, which may be a segment or a point."""
    out = ti.min(segment(p, a, b), ti.min(segment(p, b, c), segment(p, c, a)))
    normal = (b - a).cross(c - a)
    square = normal.norm_sqr()
    if square > 0.0:
        one = (b - a).cross(p - a).dot(normal)
        two = (c - b).cross(p - b).dot(normal)
        three = (a - c).cross(p - c).dot(normal)
        if one >= 0.0 and two >= 0.0 and three >= 0.0:
            height = (p - a).dot(normal)
            out = ti.min(out, height * height / square)
    return out


@ti.kernel
def nearest(
    width: ti.i32, height: ti.i32, depth: ti.i32, block: ti.i32, box: A2, points: A2, faces: A1, spheres: A2,
    starts: A1, listed: A1, distance: A1, found: A1,
):  # fmt: skip
    """distance [cells] to, and number found [cells] of, the nearest triangle among those listed for a cell's block.

    spheres [F, 4]: middle and radius around each triangle; one that lies beyond the nearest so far is passed by. From
    one cell to the next the distance grows by a step at most, and so the search starts with the last cell's nearest.
    """
    for line in range(depth * height):
        k = line // height
        j = line - k * height
        across, down = (width + block - 1) // block, (height + block - 1) // block
        which = listed[starts[((k // block) * down + j // block) * across]]
        for i in range(width):
            unit = (load3(box, 1) - load3(box, 0)) / load3(box, 2)
            p = load3(box, 0) + unit * ti.Vector([i + 0.5, j + 0.5, k + 0.5])
            at = ((k // block) * down + j // block) * across + i // block
            best = triangle(
                p, load3(points, faces[3 * which]), load3(points, faces[3 * which + 1]),
                load3(points, faces[3 * which + 2]),
            )  # fmt: skip
            reach = ti.sqrt(best)
            for n in range(starts[at], starts[at + 1]):
                face = listed[n]
                limit = reach + spheres[face, 3]
                if (p - load3(spheres, face)).norm_sqr() <= limit * limit:
                    square = triangle(
                        p, load3(points, faces[3 * face]), load3(points, faces[3 * face + 1]),
                        load3(points, faces[3 * face + 2]),
                    )  # fmt: skip
                    if square < best:
                        best = square
                        which = face
                        reach = ti.sqrt(best)
            distance[line * width + i] = reach
            found[line * width + i] = which
