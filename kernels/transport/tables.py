"""A scene's device tables under one name, so that functions that follow rays take one argument."""

from typing import Any, NamedTuple


class Tables(NamedTuple):
    """Made inside a kernel from its arguments: `t = ti.static(Tables(...))`; ti.funcs take it as a template.

    nodes, leaves: the BVH. faces, positions, normals, uvs, colors: see surface.py. kinds, slots, values: see
    materials.py. entries, light_values, cdf, texels, alias: see lights.py. media, media_places,
    media_values: see medium.py;
    only kernels whose mask has the bit PHASE read them.
    """

    nodes: Any
    leaves: Any
    faces: Any
    positions: Any
    normals: Any
    uvs: Any
    colors: Any
    kinds: Any
    slots: Any
    values: Any
    entries: Any
    light_values: Any
    cdf: Any
    texels: Any
    alias: Any
    media: Any = None
    media_places: Any = None
    media_values: Any = None
