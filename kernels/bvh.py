"""Rays against triangles: a bounding volume hierarchy of eight children a node and eight triangles a leaf.

Both sit in one array `nodes` of 8-vectors, one lane for each child or triangle, so that a CPU tests eight at once.
Units of UNIT vectors hold

    a node:  lower x, upper x, lower y, upper y, lower z, upper z, references to the children, and one spare
    a leaf:  corner 0 (x, y, z), edge to corner 1 (x, y, z), edge to corner 2 (x, y, z), longer edge's length, two spare

A reference is the number of the unit, negative for a leaf. Lane 0 of the spare vector of the first node is the
reference that a ray starts from, NONE where there is no triangle. `leaves` holds the triangle of lane k of the leaf
that begins at vector r under r + k. The host builds it all (tidr/renderers/bvh.py), at most LEVELS nodes above a leaf.

Nearest child first, the others wait on a stack with the distance of their box and are dropped if a hit came nearer
(Wald, Benthin, Boulos 2008, "Getting rid of packets"). Boxes are met as in Ize 2013, "Robust BVH ray traversal".
Triangles are met by the determinants of Moeller and Trumbore 1997 with a margin of the determinants' own rounding
errors: a ray through a common edge hits one of the neighbours at least, and a ray that starts on a triangle's plane, up
to rounding, does not hit it.

Coordinates and lengths of directions may span 1e-10 to 1e10 in f32, and edges of one scene 1e-6 to 1 of its size. A
ray that is not finite hits nothing.
"""

import taichi as ti

WIDTH, UNIT = 8, 4  # lanes of a vector; vectors of a unit
NODE_UNITS, LEAF_UNITS = 2, 3
CHILDREN, SPARE, LENGTH = 6, 7, 9  # vectors within a node, and within a leaf
LEVELS = 9
STACK = (WIDTH - 1) * LEVELS + 1  # a node leaves at most seven children behind on the way down
NONE = 1 << 24  # larger than any unit; still a whole number in f32
FAR = 1e30  # no ray goes farther
OUTSIDE = 1e18  # an empty box lies inside out between OUTSIDE and -OUTSIDE; vertices beyond count as not finite
FLATTEST = 1e-20  # direction components nearer to zero are taken as this
ERRORS = 8  # rounding errors of half an ulp that a determinant may gather, with room to spare
OFFSET = 32  # how many ulps of its largest coordinate a ray's origin moves off its surface


def epsilon() -> float:
    """Distance from 1 to the next real number, at the precision that Taichi runs with."""
    return 2.0**-52 if ti.lang.impl.get_runtime().default_fp == ti.f64 else 2.0**-23


@ti.func
def _inverse(x):
    """1 / x, finite."""
    flat = FLATTEST
    if x < 0.0:
        flat = -FLATTEST
    if ti.abs(x) > FLATTEST:
        flat = x
    return 1.0 / flat


@ti.func
def _first(values: ti.template(), least):
    """The first lane that holds `least`; read by index, which keeps `values` in memory and so its making vectorised."""
    lane = 0
    while values[lane] > least:
        lane += 1
    return lane


@ti.func
def _min(a, b):
    """The smaller of two numbers that are not NaN: one instruction, where ti.min takes three to heed NaN."""
    return ti.select(a < b, a, b)


@ti.func
def _max(a, b):
    return ti.select(a > b, a, b)


@ti.func
def _least(lanes: ti.template()):
    return _min(
        _min(_min(lanes[0], lanes[1]), _min(lanes[2], lanes[3])),
        _min(_min(lanes[4], lanes[5]), _min(lanes[6], lanes[7])),
    )


@ti.func
def _distance(s, d, a, b, length, rounding):
    """t at which the ray from s along d meets the triangle of edges a and b at the origin, FAR where it does not."""
    p, q = d.cross(b), s.cross(a)
    det = a.dot(p)
    sign, area = ti.select(det < 0.0, -1.0, 1.0), ti.abs(det)
    u, v, t = s.dot(p) * sign, d.dot(q) * sign, b.dot(q) * sign
    reach = length * (ti.abs(s[0]) + ti.abs(s[1]) + ti.abs(s[2]) + length)
    margin = reach * rounding
    inside = (u >= -margin) & (v >= -margin) & (u + v <= area + margin) & (area > margin)
    off = t > reach * length * ti.static(ERRORS * epsilon())
    return ti.select(inside & off, t / ti.select(area > margin, area, 1.0), FAR)


@ti.func
def _traverse(o, d, t_max, nodes: ti.template(), any_will_do):
    """(t, vector where the leaf begins or -1, lane) of the nearest hit in (0, t_max), or of any."""
    widen = ti.static(1.0 + 4 * epsilon())
    ix, iy, iz = _inverse(d[0]), _inverse(d[1]), _inverse(d[2])
    x, y, z = ti.select(ix < 0.0, 1, 0), ti.select(iy < 0.0, 3, 2), ti.select(iz < 0.0, 5, 4)
    rounding = ti.static(ERRORS * epsilon()) * d.norm()
    best, hit, hit_lane = ti.min(t_max, FAR), -1, 0
    stack, near = ti.Vector([0] * STACK), ti.Vector([0.0] * STACK)
    ts = ti.Vector([0.0] * WIDTH)
    waiting, reference = 0, ti.cast(nodes[SPARE][0], ti.i32)
    if ti.math.isnan(o.sum() + d.sum()):
        reference = NONE
    while reference != NONE:
        if reference >= 0:
            # eight boxes
            r = reference * UNIT
            x0, y0, z0 = nodes[r + x], nodes[r + y], nodes[r + z]
            x1, y1, z1 = nodes[r + 1 - x], nodes[r + 5 - y], nodes[r + 9 - z]
            children = nodes[r + CHILDREN]
            for k in ti.static(range(WIDTH)):
                enter = _max(_max((x0[k] - o[0]) * ix, (y0[k] - o[1]) * iy), _max((z0[k] - o[2]) * iz, 0.0))
                leave = _min(_min((x1[k] - o[0]) * ix, (y1[k] - o[1]) * iy), _min((z1[k] - o[2]) * iz, best))
                ts[k] = ti.select(enter <= leave * widen, enter, FAR)
            least = _least(ts)
            reference = NONE
            if least < FAR:
                lane = _first(ts, least)
                reference = ti.cast(nodes[r + CHILDREN][lane], ti.i32)
                ts[lane] = FAR
                for k in ti.static(range(WIDTH)):
                    if ts[k] < FAR:
                        stack[waiting], near[waiting] = ti.cast(children[k], ti.i32), ts[k]
                        waiting += 1
        else:
            # eight triangles
            r = -reference * UNIT
            vx, vy, vz = nodes[r], nodes[r + 1], nodes[r + 2]
            ax, ay, az = nodes[r + 3], nodes[r + 4], nodes[r + 5]
            bx, by, bz = nodes[r + 6], nodes[r + 7], nodes[r + 8]
            length = nodes[r + LENGTH]
            for k in ti.static(range(WIDTH)):
                a, b = ti.Vector([ax[k], ay[k], az[k]]), ti.Vector([bx[k], by[k], bz[k]])
                ts[k] = _distance(o - ti.Vector([vx[k], vy[k], vz[k]]), d, a, b, length[k], rounding)
            least = _least(ts)
            reference = NONE
            if least < best:
                best, hit, hit_lane = least, r, _first(ts, least)
                if any_will_do:
                    waiting = 0
        while reference == NONE and waiting > 0:
            waiting -= 1
            if near[waiting] < best:
                reference = stack[waiting]
    return best, hit, hit_lane


@ti.func
def closest_hit(o, d, t_max, nodes: ti.template(), leaves: ti.template()):
    """(triangle, t, u, v) of the nearest hit of o + t d with 0 < t < t_max; triangle is -1 where there is none.

    u and v are the barycentric coordinates of corners 1 and 2; d has any length but zero.
    """
    return meet(o, d, t_max, False, nodes, leaves)


@ti.func
def meet(o, d, t_max, any_will_do, nodes: ti.template(), leaves: ti.template()):
    """`closest_hit`, or where any_will_do is true whatever hit is found first: for kernels that follow rays of both
    kinds in turn, into which this is compiled but once."""
    t, r, lane = _traverse(o, d, t_max, nodes, any_will_do)
    triangle, u, v = -1, 0.0, 0.0
    if r >= 0:
        triangle = leaves[r + lane]
        corner = ti.Vector([nodes[r][lane], nodes[r + 1][lane], nodes[r + 2][lane]])
        a = ti.Vector([nodes[r + 3][lane], nodes[r + 4][lane], nodes[r + 5][lane]])
        b = ti.Vector([nodes[r + 6][lane], nodes[r + 7][lane], nodes[r + 8][lane]])
        s, p = o - corner, d.cross(b)
        det = a.dot(p)
        u = ti.min(ti.max(s.dot(p) / det, 0.0), 1.0)
        v = ti.min(ti.max(d.dot(s.cross(a)) / det, 0.0), 1.0 - u)
    return triangle, t, u, v


@ti.func
def any_hit(o, d, t_max, nodes: ti.template(), leaves: ti.template()):
    """1 where o + t d meets a triangle with 0 < t < t_max, else 0. `leaves` is there to be called as closest_hit is."""
    _, r, _ = _traverse(o, d, t_max, nodes, True)
    return ti.cast(r >= 0, ti.i32)


@ti.func
def offset_origin(x, ng, d):
    """x moved off its surface along the normal ng, of any length, to the side that d leaves to.

    The step is a few ulps of the largest coordinate, so that thin gaps stay open (after Waechter and Binder 2019, "A
    fast and robust method for avoiding self-intersection"). x should come from barycentric coordinates: o + t d has the
    errors of o, too.
    """
    largest = ti.max(ti.max(ti.abs(x[0]), ti.abs(x[1])), ti.abs(x[2]))
    step = ti.static(OFFSET * epsilon()) * largest / ti.max(ng.norm(), FLATTEST)
    if ng.dot(d) < 0.0:
        step = -step
    return x + step * ng
