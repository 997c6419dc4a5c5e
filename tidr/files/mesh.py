"""Mesh files by their suffix: .obj .ply .stl .gltf .glb in, .obj .ply .glb out; validated on the way in and out."""

from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MaterialData, MeshData

from .guard import DEFAULT, Limits, check_mesh, read_bytes
from .write import write_files

READ = (".obj", ".ply", ".stl", ".gltf", ".glb")
WRITTEN = (".obj", ".ply", ".glb")


def read_mesh(path: str | Path, limits: Limits = DEFAULT) -> MeshData:
    """A validated triangle mesh with its materials, from .obj (+ .mtl), .ply, .stl, .gltf or .glb.

    Vertices stay welded across uv seams. A glTF's node transforms are baked into its vertices. Files that it refers to
    must lie in its own folder.

    Raises:
        FileError: names the file and the line, key or face: missing, malformed, cut off, not finite, an index out of
            range, no triangle, larger than `limits`, a reference that leads elsewhere.

    Warns:
        MeshWarning: degenerate faces, normals of length 0, or points and lines were left out; an .mtl is missing.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in READ:
        raise FileError(path, f"unknown kind of mesh {path.suffix!r}", "use one of " + " ".join(READ))
    try:
        return check_mesh(path, _reader(kind)(path, limits), limits)
    except MemoryError as error:
        raise FileError(path, "needs more memory than there is", "give a smaller mesh") from error


def write_mesh(path: str | Path, data: MeshData) -> None:
    """Write a mesh to .obj (with .mtl and pictures beside it), .ply (binary; no materials) or .glb.

    An OBJ keeps every bit of the numbers and the welding; a GLB is single precision. All files appear whole, the mesh
    itself last, or none does.

    Raises:
        FileError: unknown suffix, a mesh that `read_mesh` would refuse, a folder that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITTEN:
        raise FileError(path, f"unknown kind of mesh {path.suffix!r}", "use one of " + " ".join(WRITTEN))
    data = check_mesh(path, data)
    if kind == ".ply":
        from .ply import write_ply

        write_files({path: write_ply(data)})
    elif kind == ".glb":
        from .gltf_write import write_glb

        write_files({path: write_glb(data)})
    else:
        write_files(_obj_files(path, data))


def from_trimesh(mesh) -> MeshData:
    """The vertices, faces, uvs and vertex colours of a `trimesh.Trimesh`, positions as it has them, validated."""
    from .srgb import srgb_to_linear

    visual, uvs, colors = mesh.visual, None, None
    if getattr(visual, "kind", None) == "texture" and visual.uv is not None:
        uvs = np.asarray(visual.uv)[:, :2]
    elif getattr(visual, "kind", None) == "vertex":
        colors = srgb_to_linear(np.asarray(visual.vertex_colors)[:, :3] / 255)
    return check_mesh("trimesh", MeshData(np.asarray(mesh.vertices), np.asarray(mesh.faces), uvs=uvs, colors=colors))


def _reader(kind: str):
    if kind == ".obj":
        from .obj import read_obj as reader
    elif kind == ".ply":
        from .ply import read_ply as reader
    elif kind == ".stl":
        from .stl import read_stl as reader
    else:
        from .gltf import read_gltf as reader
    return reader


def _obj_files(path: Path, data: MeshData) -> dict[Path, bytes]:
    """Everything that an OBJ consists of, the OBJ last."""
    from .image import encode_png
    from .mtl import safe_names, write_mtl
    from .obj import write_obj

    files: dict[Path, bytes] = {}
    pictures: dict[tuple[int, str], str] = {}
    names = safe_names(data.materials)
    for index, material in enumerate(data.materials):
        for slot, value in material.values.items():
            if isinstance(value, Path):
                contents, suffix = read_bytes(value), value.suffix.lower()
            elif isinstance(value, np.ndarray) and value.ndim >= 2:
                picture = value if value.ndim == 3 else value[..., None]
                contents, suffix = encode_png(picture, srgb=_is_color(slot)), ".png"
            else:
                continue
            pictures[index, slot] = f"{path.stem}_{names[index]}_{slot}{suffix}"
            files[path.with_name(pictures[index, slot])] = contents
    if data.materials:
        files[path.with_suffix(".mtl")] = write_mtl(data.materials, pictures).encode()
    return files | {path: write_obj(data, path.stem).encode()}


def _is_color(slot: str) -> bool:
    from tidr.scene.mesh_data import COLOR_SLOTS

    return slot in COLOR_SLOTS


__all__ = ["MaterialData", "MeshData", "from_trimesh", "read_mesh", "write_mesh"]
