"""The table of faces that light transport reads, from the index arrays of a scene's packed meshes."""

import taichi as ti

A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

COLUMNS = 12


@ti.kernel
def pack_faces(count: ti.i32, triangles: A2I, normal_corners: A2I, uv_corners: A2I, material: A1I, faces: A2I):
    """faces [F, 12]: see surface.py; no face emits light yet."""
    for f in range(count):
        for c in ti.static(range(3)):
            faces[f, c] = triangles[f, c]
            faces[f, 3 + c] = normal_corners[f, c]
            faces[f, 6 + c] = uv_corners[f, c]
        faces[f, 9] = material[f]
        faces[f, 10] = 0
        faces[f, 11] = -1
