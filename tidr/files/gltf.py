"""glTF 2.0 meshes (.gltf, .glb).

Node transforms are baked into the vertices: the scene becomes one mesh in its root space. Read here rather than through
trimesh, which rounds colours and factors to bytes. Skins, morph targets, animations, cameras and lights are passed by;
`gltf_scene` reads whole scenes.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MaterialData, MeshData

from .gltf_container import Gltf
from .guard import DEFAULT, Limits, MeshWarning, check_count, check_finite, check_tree, integer, number, numbers
from .guard import quaternion as unit_quaternion
from .image import decode_image
from .polygons import weld

TRIANGLES, STRIP, FAN = 4, 5, 6


@dataclass
class Part:
    """One primitive, in root space. Arrays are per corner of its indexed vertices."""

    vertices: np.ndarray  # [n, 3]
    faces: np.ndarray  # [F, 3]
    uvs: np.ndarray | None
    normals: np.ndarray | None
    colors: np.ndarray | None
    material: int | None


def read_gltf(path: Path, limits: Limits = DEFAULT) -> MeshData:
    """All triangles of the default scene, not yet checked; positions welded where they and their colours are equal.

    Materials become "metallic_roughness"; texture pictures are multiplied by their factors. COLOR_0 becomes the vertex
    colours. Corners without a uv get (0, 0); normals count only when every primitive has them.
    """
    gltf = Gltf(path, limits)
    shown, parents = shown_nodes(gltf)
    meshes = meshes_of(gltf, shown)
    total = sum(mesh_size(gltf, mesh) for mesh in meshes.values())
    check_count(str(path), "vertices and corners, instances included,", total, limits.vertices + limits.faces)
    node_to_root: dict[int, np.ndarray] = {}
    parts, passed_by = [], 0
    for node in shown:
        matrix, parent = node_matrix(gltf, node), parents[node]
        if parent is not None:
            matrix = node_to_root[parent] @ matrix
        node_to_root[node] = check_finite(gltf.at(f"nodes[{node}]"), "transform row", matrix)
        if node in meshes:
            found, others = mesh_parts(gltf, meshes[node], matrix)
            parts += found
            passed_by += others
    if passed_by:
        warnings.warn(f"{path}: {passed_by} primitives of points or lines passed by", MeshWarning, stacklevel=4)
    if not parts:
        raise FileError(path, "holds no triangle mesh in its scene")
    data, slots = joined(parts)
    if data.face_materials is None:
        return data
    pixels = [limits.pixels]
    return replace(data, materials=tuple(material_data(gltf, index, pixels) for index in slots))


def shown_nodes(gltf: Gltf) -> tuple[list[int], dict[int, int | None]]:
    """The nodes of the default scene, parents first, and the parent of every node."""
    nodes = gltf.get(gltf.json, "nodes", list, "", [])
    parents: dict[int, int | None] = dict.fromkeys(range(len(nodes)))
    for index in range(len(nodes)):
        node, here = gltf.item("nodes", index, "nodes")
        for slot, child in enumerate(gltf.get(node, "children", list, here, [])):
            child = integer(child, gltf.at(f"{here}.children[{slot}]"), 0, len(nodes) - 1)
            if parents[child] is not None:
                raise FileError(gltf.at(f"nodes[{child}]"), f"has two parents, {parents[child]} and {index}")
            parents[child] = index
    order = check_tree(gltf.at("nodes"), parents, gltf.limits)
    shown = _shown_roots(gltf, parents)
    for index in order:
        if parents[index] in shown:
            shown.add(index)
    return [index for index in order if index in shown], parents


def meshes_of(gltf: Gltf, shown: list[int]) -> dict[int, int]:
    """The mesh of each shown node that has one."""
    nodes = {index: gltf.item("nodes", index, "nodes")[0] for index in shown}
    return {
        index: integer(node["mesh"], gltf.at(f"nodes[{index}].mesh")) for index, node in nodes.items() if "mesh" in node
    }


def _shown_roots(gltf: Gltf, parents: dict[int, int | None]) -> set[int]:
    """The root nodes of the default scene; without scenes, all roots."""
    if not gltf.get(gltf.json, "scenes", list, "", []):
        return {node for node, parent in parents.items() if parent is None}
    scene, here = gltf.item("scenes", gltf.json.get("scene", 0), "scene")
    roots = set()
    for slot, root in enumerate(gltf.get(scene, "nodes", list, here, [])):
        root = integer(root, gltf.at(f"{here}.nodes[{slot}]"), 0, max(len(parents) - 1, 0))
        if parents.get(root, 0) is not None:
            raise FileError(gltf.at(f"{here}.nodes[{slot}]"), f"node {root} is no root")
        roots.add(root)
    return roots


def node_matrix(gltf: Gltf, index: int) -> np.ndarray:
    """node_to_parent [4, 4] of a node's matrix, or of its translation, rotation (x, y, z, w) and scale."""
    node, here = gltf.item("nodes", index, "nodes")
    if "matrix" in node:
        matrix = numbers(node["matrix"], gltf.at(f"{here}.matrix"), 16).reshape(4, 4).T
        if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
            raise FileError(gltf.at(f"{here}.matrix"), f"has the bottom row {matrix[3].tolist()}, expected 0 0 0 1")
        return matrix
    where = gltf.at(f"{here}.rotation")
    x, y, z, w = unit_quaternion(numbers(node.get("rotation", [0, 0, 0, 1]), where, 4), where)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * numbers(node.get("scale", [1, 1, 1]), gltf.at(f"{here}.scale"), 3)
    matrix[:3, 3] = numbers(node.get("translation", [0, 0, 0]), gltf.at(f"{here}.translation"), 3)
    return matrix


def _primitives(gltf: Gltf, mesh: int) -> Iterator[tuple[dict, dict, str]]:
    """Each primitive of a mesh, its attributes, and its place."""
    entry, here = gltf.item("meshes", mesh, f"meshes[{mesh}]")
    for slot, primitive in enumerate(gltf.get(entry, "primitives", list, here)):
        place = f"{here}.primitives[{slot}]"
        if not isinstance(primitive, dict):
            raise FileError(gltf.at(place), "is no object")
        yield primitive, gltf.get(primitive, "attributes", dict, place), place


def mesh_size(gltf: Gltf, mesh: int) -> int:
    """The vertices and indices that a mesh claims, before any is read."""
    total = 0
    for primitive, attributes, place in _primitives(gltf, mesh):
        for index in (attributes.get("POSITION"), primitive.get("indices")):
            if index is not None:
                accessor, here = gltf.item("accessors", index, place)
                total += integer(accessor.get("count"), gltf.at(f"{here}.count"))
    return total


def mesh_parts(gltf: Gltf, mesh: int, matrix: np.ndarray) -> tuple[list[Part], int]:
    """The triangle primitives of a mesh under `matrix`, and the number of other primitives."""
    parts, others = [], 0
    linear = matrix[:3, :3]
    cofactors = np.cross(linear[[1, 2, 0]], linear[[2, 0, 1]])  # takes normals along, even where the scale is 0
    mirrored = np.linalg.det(linear) < 0
    for primitive, attributes, place in _primitives(gltf, mesh):
        mode = integer(primitive.get("mode", TRIANGLES), gltf.at(f"{place}.mode"), 0, 6)
        if mode < TRIANGLES:
            others += 1
            continue

        def read(name: str, widths: tuple[int, ...], attributes: dict = attributes, place: str = place):
            if name not in attributes:
                return None
            here = f"{place}.attributes.{name}"
            values = gltf.accessor(attributes[name], here, widths, gltf.limits.vertices).astype(np.float64)
            return check_finite(gltf.at(here), "element", values)

        vertices = read("POSITION", (3,))
        if vertices is None:
            raise FileError(gltf.at(place), "has no POSITION")
        normals, colors = read("NORMAL", (3,)), read("COLOR_0", (3, 4))
        material = primitive.get("material")
        if material is not None:
            material = integer(material, gltf.at(f"{place}.material"))
        uvs = read(f"TEXCOORD_{_uv_set(gltf, material, place)}", (2,))
        for name, values in (("NORMAL", normals), ("COLOR_0", colors), ("TEXCOORD", uvs)):
            if values is not None and len(values) != len(vertices):
                raise FileError(gltf.at(place), f"has {len(values)} {name} for {len(vertices)} POSITION")
        faces = _faces(gltf, primitive, place, mode, len(vertices))
        if mirrored:
            faces = faces[:, ::-1]
            normals = None if normals is None else -normals
        parts.append(
            Part(
                vertices @ linear.T + matrix[:3, 3],
                faces,
                None if uvs is None else uvs * [1, -1] + [0, 1],  # glTF counts v from the top
                None if normals is None else normals @ cofactors.T,
                None if colors is None else colors[:, :3],
                material,
            )
        )
    return parts, others


def _faces(gltf: Gltf, primitive: dict, place: str, mode: int, count: int) -> np.ndarray:
    """[F, 3] of a triangle list, strip or fan."""
    indices = np.arange(count)
    if "indices" in primitive:
        here = f"{place}.indices"
        indices = gltf.accessor(primitive["indices"], here, (1,), 3 * gltf.limits.faces).reshape(-1)
        if indices.dtype.kind != "u":
            raise FileError(gltf.at(here), f"are of type {indices.dtype}, expected unsigned whole numbers")
        indices = indices.astype(np.int64)
        bad = indices >= count
        if bad.any():
            corner = int(bad.argmax())
            where = gltf.at(f"{here}, face {corner // 3}")
            raise FileError(where, f"has vertex index {indices[corner]}, the primitive has {count} vertices")
    if mode == TRIANGLES:
        if len(indices) % 3:
            raise FileError(gltf.at(place), f"has {len(indices)} corners, no multiple of 3")
        return indices.reshape(-1, 3)
    slots = np.arange(max(len(indices) - 2, 0))[:, None]
    if mode == FAN:
        return indices[np.concatenate([slots * 0, slots + 1, slots + 2], axis=1)]
    odd = slots % 2
    return indices[np.concatenate([slots, slots + 1 + odd, slots + 2 - odd], axis=1)]


def joined(parts: list[Part]) -> tuple[MeshData, list[int | None]]:
    """One mesh of all parts, without materials, and the index of the material that each of its slots takes."""
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    corners = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    vertices = np.concatenate([part.vertices for part in parts])

    def gather(name: str, fill: float, width: int) -> np.ndarray | None:
        columns = [getattr(part, name) for part in parts]
        if all(column is None for column in columns):
            return None
        return np.concatenate(
            [
                np.full((len(part.vertices), width), fill) if column is None else column
                for part, column in zip(parts, columns, strict=True)
            ]
        )

    colors = gather("colors", 1.0, 3)
    uvs = gather("uvs", 0.0, 2)
    normals = None if any(part.normals is None for part in parts) else gather("normals", 0.0, 3)
    first, which = weld(vertices if colors is None else np.concatenate([vertices, colors], axis=1))
    slots: dict[int | None, int] = {}
    for part in parts:
        slots.setdefault(part.material, len(slots))
    which_slot = np.concatenate([np.full(len(part.faces), slots[part.material], np.int32) for part in parts])
    made = MeshData(
        vertices[first],
        which[corners],
        uvs=uvs,
        uv_faces=None if uvs is None else corners,
        normals=normals,
        normal_faces=None if normals is None else corners,
        colors=None if colors is None else colors[first],
        face_materials=which_slot if set(slots) != {None} else None,
    )
    return made, list(slots)


def pbr_of(gltf: Gltf, index: int, place: str) -> tuple[dict, dict, str]:
    material, here = gltf.item("materials", index, place)
    return material, gltf.get(material, "pbrMetallicRoughness", dict, here, {}), f"{here}.pbrMetallicRoughness"


def _uv_set(gltf: Gltf, material: int | None, place: str) -> int:
    """The uv set of the first of a material's pictures."""
    if material is None:
        return 0
    entry, pbr, here = pbr_of(gltf, material, f"{place}.material")
    names = [(pbr, "baseColorTexture"), (pbr, "metallicRoughnessTexture"), (entry, "normalTexture")]
    for owner, name in (*names, (entry, "emissiveTexture")):
        if name in owner:
            texture = gltf.get(owner, name, dict, here)
            return integer(texture.get("texCoord", 0), gltf.at(f"{here}.{name}.texCoord"), 0, 9)
    return 0


def material_data(gltf: Gltf, index: int | None, pixels: list[int]) -> MaterialData:
    """A material; `pixels` holds how many more pixels its pictures may have."""
    if index is None:
        return MaterialData("default")
    material, pbr, here = pbr_of(gltf, index, f"materials[{index}]")
    factor = numbers(pbr.get("baseColorFactor", [1, 1, 1, 1]), gltf.at(f"{here}.baseColorFactor"), 4)[:3]
    roughness = number(pbr.get("roughnessFactor", 1.0), gltf.at(f"{here}.roughnessFactor"), 0, 1)
    metallic = number(pbr.get("metallicFactor", 1.0), gltf.at(f"{here}.metallicFactor"), 0, 1)
    values: dict[str, object] = {"albedo": tuple(factor.tolist()), "roughness": roughness, "metallic": metallic}
    picture = picture_of(gltf, pbr, "baseColorTexture", here, pixels, srgb=True)
    if picture is not None:
        values["albedo"] = picture[..., :3] * factor.astype(np.float32)
    picture = picture_of(gltf, pbr, "metallicRoughnessTexture", here, pixels, srgb=False)
    if picture is not None:
        values["roughness"] = picture[..., 1:2] * np.float32(roughness)
        values["metallic"] = picture[..., 2:3] * np.float32(metallic)
    name = material.get("name")
    return MaterialData(name if isinstance(name, str) and name else f"material_{index}", "metallic_roughness", values)


def picture_of(gltf: Gltf, pbr: dict, name: str, here: str, pixels: list[int], srgb: bool) -> np.ndarray | None:
    if name not in pbr:
        return None
    place = f"{here}.{name}"
    texture, at_texture = gltf.item("textures", gltf.get(pbr, name, dict, here).get("index"), f"{place}.index")
    data, at_image = gltf.image(texture.get("source"), f"{at_texture}.source")
    limits = Limits(pixels=max(pixels[0], 1))
    picture = decode_image(data, gltf.at(at_image), limits, srgb=srgb)
    pixels[0] -= picture.shape[0] * picture.shape[1]
    return picture
