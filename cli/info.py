"""tidr info: what is in a scene."""

import json
import math
from typing import Annotated, Any

import typer

BYTES_PER_PIXEL = 400  # interaction buffer and images of one view, with gradients, in 32 bits
BYTES_PER_VERTEX = 150  # packed geometry of one view, with gradients


def info(
    scene: Annotated[str, typer.Argument(help="Bundled name, .toml, .xml, .glb, mesh, points, volume or data set.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a scene key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a scene's nodes, cameras, lights, materials, parameters and the memory that it takes."""
    from tidr.files.scene_file import load_scene

    facts = scene_facts(load_scene(scene, set_ or ()))
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts)))


def scene_facts(scene) -> dict[str, Any]:
    """Everything that `info` prints, as plain data."""
    parameters = {path: list(item.shape) for path, item in scene.parameters().items()}
    scalars = sum(math.prod(shape) for shape in parameters.values())
    nodes = _nodes(scene)
    vertices = sum(item["vertices"] for item in nodes.values())
    pixels = max([camera.width * camera.height for camera in scene.cameras.values()], default=0)
    bounds = [item["bounds"] for item in nodes.values() if item["bounds"]]
    return {
        "scene": str(scene.source),
        "film": {"width": scene.film.width, "height": scene.film.height},
        "counts": {
            "nodes": len(nodes),
            "vertices": vertices,
            "faces": sum(item["faces"] for item in nodes.values()),
            "cameras": len(scene.cameras),
            "lights": len(scene.lights),
            "materials": len(scene.materials),
            "parameters": len(parameters),
            "scalars": scalars,
        },
        "bounds": [
            [function(corner[axis] for corner in corners) for axis in range(3)]
            for function, corners in zip((min, max), zip(*bounds, strict=True), strict=True)
        ]
        if bounds
        else None,
        "nodes": nodes,
        "cameras": {name: _camera(camera) for name, camera in scene.cameras.items()},
        "lights": {name: {"type": type(light).__name__} for name, light in scene.lights.items()},
        "materials": {name: _material(material) for name, material in scene.materials.items()},
        "parameters": parameters,
        "fit": _fit(scene.fit),
        "memory_bytes": {
            "parameters": scalars * 8,
            "one_view": pixels * BYTES_PER_PIXEL + vertices * BYTES_PER_VERTEX,
        },
    }


def _nodes(scene) -> dict[str, dict[str, Any]]:
    import numpy as np

    from tidr.scene.mesh import Mesh

    def around(points, matrix) -> list:
        placed = np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        return [placed.min(0).tolist(), placed.max(0).tolist()]

    worlds, found, owners = scene.world_matrices(), {}, {}
    for name, node in scene.nodes.items():
        item: dict[str, Any] = {"parent": node.parent, "materials": list(node.materials)}
        item |= {"vertices": 0, "faces": 0, "bounds": None, "shares_mesh_of": None}
        geometry = node.geometry
        if geometry is not None:
            item |= {"type": type(geometry).__name__, "bytes": geometry.byte_size()}
            item["shares_mesh_of"] = owners.get(id(geometry))
            owners.setdefault(id(geometry), name)
            item["shapes"] = {key: list(value.shape) for key, value in geometry.parameters().items()}
        if isinstance(geometry, Mesh):
            item["vertices"], item["faces"] = geometry.vertices.rows, len(geometry.faces)
            item["bounds"] = around(geometry.vertices.numpy(), worlds[name])
            item["closed"] = geometry.topology.closed
            item["manifold"] = len(geometry.topology.crowded_edges) == 0
        elif geometry is not None:
            corners = np.stack(np.meshgrid(*np.transpose(geometry.bounds()), indexing="ij"), -1).reshape(-1, 3)
            item["bounds"] = around(corners, worlds[name])
        found[name] = item
    return found


def _camera(camera) -> dict[str, Any]:
    parameters = camera.parameters()
    shown = ("position", "focal", "aperture_radius", "focus_distance", "target", "normal")
    values = {name: parameters[name].numpy().tolist() for name in shown if name in parameters}
    return {"type": camera.kind, "width": camera.width, "height": camera.height, **values}


def _material(material) -> dict[str, Any]:
    from tidr.scene.material import BLENDED
    from tidr.scene.texture import Texture

    slots = {}
    for name, source in material.sources.items():
        if isinstance(source, Texture):
            height, width, _ = source.texels.shape
            slots[name] = f"texture {width} x {height}"
        else:
            slots[name] = source.numpy().tolist() if hasattr(source, "numpy") else "vertex_colors"
    return {"type": material.type, **dict(zip(BLENDED, material.blended, strict=False)), **slots}


def _fit(settings) -> dict[str, Any] | None:
    if settings is None:
        return None
    told = {"views": settings.views, "targets": dict(settings.targets), "steps": settings.steps}
    return told | {"parameters": list(settings.parameters), "losses": dict(settings.losses)}


def _lines(facts: dict[str, Any]) -> list[str]:
    counts, memory = facts["counts"], facts["memory_bytes"]
    lines = [
        f"{facts['scene']}: {counts['nodes']} nodes, {counts['vertices']} vertices, {counts['faces']} faces, "
        f"{counts['cameras']} cameras",
        f"film {facts['film']['width']} x {facts['film']['height']}",
    ]
    if facts["bounds"]:
        lines.append(f"bounds {_vector(facts['bounds'][0])} to {_vector(facts['bounds'][1])}")
    for name, node in facts["nodes"].items():
        under = f" under {node['parent']}" if node["parent"] else ""
        what = f"{node['vertices']} vertices, {node['faces']} faces" if node["faces"] else _grid(node)
        shared = f", the same as {node['shares_mesh_of']}" if node["shares_mesh_of"] else ""
        shape = "" if not node["faces"] else ", closed" if node["closed"] else ", open"
        shape += ", not manifold" if node["faces"] and not node["manifold"] else ""
        painted = f", {' '.join(node['materials'])}" if node["materials"] else ""
        lines.append(f"node {name}{under}: {what}{shape}{shared}{painted}")
    for name, camera in facts["cameras"].items():
        size = f"{camera['width']} x {camera['height']}"
        lines.append(f"camera {name}: {camera['type']}, {size}, at {_vector(camera['position'])}")
    lines += [f"light {name}: {light['type']}" for name, light in facts["lights"].items()]
    for name, material in facts["materials"].items():
        slots = ", ".join(f"{slot} {_slot(value)}" for slot, value in material.items() if slot != "type")
        lines.append(f"material {name}: {material['type']} ({slots})")
    width = max([len(path) for path in facts["parameters"]], default=0)
    if facts["nodes"]:  # else those of cameras only, four each
        lines += [f"parameter {path:{width}} {tuple(shape)}" for path, shape in facts["parameters"].items()]
    if facts["fit"]:
        source = facts["fit"]["views"] or ", ".join(facts["fit"]["targets"].values())
        lines.append(f"fit: {' '.join(facts['fit']['parameters'])} to {source}, {facts['fit']['steps']} steps")
    lines.append(
        f"memory: about {memory['parameters'] / 1e6:.1f} MB for {counts['scalars']} numbers with gradients, "
        f"{memory['one_view'] / 1e6:.1f} MB per view"
    )
    return lines


def _grid(node: dict[str, Any]) -> str:
    """What a node holds that is no mesh."""
    if "type" not in node:
        return "no mesh"
    shapes = ", ".join(f"{key} {' x '.join(map(str, shape)) or 'one'}" for key, shape in node["shapes"].items())
    return f"{node['type']} ({shapes}), {node['bytes'] / 1e6:.2f} MB"


def _vector(values) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"


def _slot(value) -> str:
    return value if isinstance(value, str) else _vector(value) if isinstance(value, list) else f"{value:.3g}"
