"""Meshes of fewer triangles, and texture coordinates for meshes that have none, by the libraries of an extra."""

import numpy as np

from tidr.errors import SceneError

from .mesh import Mesh

INSTALL = "pip install 'tidr[geometry]'"


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """A mesh of about `faces` triangles, made by edge collapses that change the surface least (Garland and Heckbert
    1997, quadric error metrics). Positions alone are kept: `unwrap` makes new texture coordinates.

    Raises:
        SceneError: the library fast-simplification is not there, fewer than 4 triangles, or more than the mesh has.
    """
    try:
        from fast_simplification import simplify as collapse
    except ImportError as error:
        raise SceneError("simplify", "needs the package fast-simplification", INSTALL) from error
    if not 4 <= faces <= len(mesh.faces):
        raise SceneError("simplify", f"faces is {faces}, the mesh has {len(mesh.faces)}", "give 4 to as many")
    positions, triangles = collapse(mesh.vertices.numpy().astype(np.float64), mesh.faces, target_count=faces)
    used, corners = np.unique(triangles, return_inverse=True)
    return Mesh(positions[used], corners.reshape(-1, 3), shading="smooth" if mesh.shading == "file" else mesh.shading)


def unwrap(mesh: Mesh, size: int = 1024, padding: int = 2) -> Mesh:
    """The same surface with new texture coordinates: charts without overlap, `padding` texels apart in a texture of
    about size x size (xatlas; Levy et al. 2002, least squares conformal maps). Colours and attributes stay.

    Raises:
        SceneError: the library xatlas is not there.
    """
    try:
        import xatlas
    except ImportError as error:
        raise SceneError("unwrap", "needs the package xatlas", INSTALL) from error
    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, padding, True
    atlas.add_mesh(mesh.vertices.numpy().astype(np.float32), mesh.faces.astype(np.uint32))
    atlas.generate(pack_options=packing)
    _, corners, uvs = atlas[0]
    given = {} if mesh.normals is None else {"normals": mesh.normals.numpy(), "normal_faces": mesh.normal_faces}
    return Mesh(
        mesh.vertices.numpy(),
        mesh.faces,
        uvs=uvs,
        uv_faces=corners,
        colors=None if mesh.colors is None else mesh.colors.numpy(),
        face_materials=mesh.face_materials,
        attributes={name: parameter.numpy() for name, parameter in mesh.attributes.items()},
        shading=mesh.shading,
        **given,
    )
