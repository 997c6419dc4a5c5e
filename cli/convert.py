"""tidr convert: a mesh, a volume or a scene into another format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tidr.scene.mesh_data import MeshData


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Mesh, points, Gaussians (.ply), volume or scene (.toml .xml .glb)."),
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help=".obj .ply .glb, .npz .npy .vol .nrrd, .toml, or .html to look at."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scene IN.")
    ] = None,
    faces: Annotated[
        int | None,
        typer.Option(metavar="N", help="Collapse a mesh to about N triangles with new texture coordinates."),
    ] = None,
) -> None:
    """Convert a mesh, points, Gaussians or a volume, or write any scene (of a mesh: with camera and lights) as TOML, a
    scene of meshes as GLB, one of meshes and points as an HTML file that any browser shows offline, and the surface of
    a scene's only node (voxels, tetrahedra, a volume, a field) as a mesh."""
    from tidr.errors import FileError
    from tidr.files.mesh import READ, WRITTEN, write_mesh
    from tidr.files.volume import WRITTEN as VOLUMES

    kind, path = target.suffix.lower(), Path(source)
    if faces is not None and (kind not in WRITTEN or path.suffix.lower() not in (*READ, ".toml")):
        raise FileError(path, "--faces is about meshes", f"give and write one of {' '.join(WRITTEN)}")
    if kind == ".toml":
        from tidr.files.scene_file import load_scene
        from tidr.files.scene_write import write_scene

        scene = load_scene(source, set_ or ())
        _refuse_same(scene.source, target)
        write_scene(scene, target)
        typer.echo(f"{target}: {len(scene.nodes)} nodes, {len(scene.cameras)} cameras")
        return
    if kind == ".html":
        from tidr.files.html import write_html
        from tidr.files.scene_file import load_scene

        typer.echo(f"{target}: {write_html(load_scene(source, set_ or ()), target)} nodes")
        return
    if kind == ".ply" and path.suffix.lower() == ".ply" and not set_ and _cloud(path, target):
        return
    if kind in VOLUMES and not set_:
        _volume(path, target)
        return
    if kind == ".glb" and path.suffix.lower() not in READ:
        _scene(source, target, set_ or ())
        return
    if kind not in WRITTEN:
        kinds = " ".join([".toml", ".html", *WRITTEN, *VOLUMES])
        raise FileError(target, f"unknown kind of file {target.suffix!r}", f"use {kinds}")
    data = _shape(source, set_ or ())
    if faces is not None:
        data = _fewer(data, faces)
    _refuse_same(path, target)
    write_mesh(target, data)
    typer.echo(f"{target}: {len(data.vertices)} vertices, {len(data.faces)} faces")


def _fewer(data: MeshData, faces: int) -> MeshData:
    """About so many triangles, with texture coordinates of their own."""
    from tidr.scene.mesh import Mesh
    from tidr.scene.mesh_data import MeshData
    from tidr.scene.simplify import simplify, unwrap

    mesh = unwrap(simplify(Mesh.from_data(data), faces))
    return MeshData(mesh.vertices.numpy(), mesh.faces, mesh.uvs and mesh.uvs.numpy(), mesh.uv_faces)


def _shape(source: str, overrides: Sequence[str]) -> MeshData:
    """A mesh file, or the surface of what stands at the only node of a scene, in the world."""
    from tidr.errors import FileError
    from tidr.files.mesh import READ, read_mesh

    path = Path(source)
    if path.suffix.lower() != ".toml":
        if path.suffix.lower() not in READ:
            raise FileError(path, "is no mesh file", f"give one of {' '.join(READ)}, or write a .toml")
        if overrides:
            raise FileError(path, "--set changes scenes, not meshes", "write a .toml")
        return read_mesh(path)
    from tidr.extract import mesh_of
    from tidr.files.scene_file import load_scene
    from tidr.scene.mesh_data import MeshData

    scene = load_scene(source, overrides)
    held = {name: node for name, node in scene.nodes.items() if node.geometry is not None}
    if len(held) != 1:
        what = f"holds {len(held)} nodes that a mesh could be made of ({', '.join(held) or 'none'})"
        raise FileError(source, what, "write a .glb, or convert the file of one of them")
    ((name, node),) = held.items()
    mesh, matrix = mesh_of(node), scene.world_matrices()[name]
    placed = mesh.vertices.numpy() @ matrix[:3, :3].T + matrix[:3, 3]
    return MeshData(placed, mesh.faces, mesh.uvs and mesh.uvs.numpy(), mesh.uv_faces)


def _cloud(source: Path, target: Path) -> bool:
    """Points or Gaussians in the layout that other programs read; False for a mesh."""
    from tidr.files.ply_elements import contents
    from tidr.files.points import read_points, write_points
    from tidr.files.splats import read_splats, write_splats

    held = contents(source)
    if held == "mesh":
        return False
    _refuse_same(source, target)
    if held == "gaussians":
        splats = read_splats(source)
        write_splats(target, splats)
        typer.echo(f"{target}: {len(splats.means)} Gaussians")
    else:
        points = read_points(source)
        write_points(target, points)
        typer.echo(f"{target}: {len(points.positions)} points")
    return True


def _scene(source: str, target: Path, overrides: Sequence[str]) -> None:
    """A scene of meshes as a GLB."""
    from tidr.files.gltf_scene_write import write_gltf_scene
    from tidr.files.scene_file import load_scene

    scene = load_scene(source, overrides)
    write_gltf_scene(scene, target)
    typer.echo(f"{target}: {len(scene.nodes)} nodes, {len(scene.cameras)} cameras")


def _volume(source: Path, target: Path) -> None:
    """One volume file as another."""
    from tidr.files.volume import read_volume, write_volume

    data = read_volume(source)
    _refuse_same(source, target)
    write_volume(target, data)
    cells = " x ".join(str(size) for size in reversed(data.shape))
    typer.echo(f"{target}: {', '.join(data.grids)}, {cells} cells")


def _refuse_same(source: Path, target: Path) -> None:
    from tidr.errors import FileError

    if target.exists() and source.resolve() == target.resolve():
        raise FileError(target, "is the input itself", "write to another file")
