"""Scenes of other programs on their way to tidr's tables: names, meshes and pictures held in memory, what was left out.

An importer fills the tables of a scene file (scene_schema.py) and puts meshes and pictures under names that no file
has. From there on they go the way of every scene: overrides, validation, one error for all faults.
"""

import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidr.scene.mesh_data import MeshData
from tidr.scene.transform import quaternion_from_rotation

from .scene_faults import LONGEST_NAME
from .volume import VolumeData

SECTIONS = ("film", "cameras", "materials", "lights", "nodes")
NOTES_SHOWN = 40
SHEARED = 1e-6  # cosine between two axes of a transform, from which on they count as not at right angles


class SceneWarning(UserWarning):
    """What a scene of another program has and tidr has not; the message names everything and its place."""


@dataclass
class Imported:
    """A scene that is being read from `path`.

    tables: film, cameras, materials, lights and nodes as in a scene file. meshes, pictures, volumes: by the paths that
    stand in the tables. pictures are linear f32 [H, W, 1 or 3], row 0 on top.
    """

    path: Path
    tables: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in SECTIONS})
    meshes: dict[Path, MeshData] = field(default_factory=dict)
    pictures: dict[Path, np.ndarray] = field(default_factory=dict)
    volumes: dict[Path, VolumeData] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  # the last number behind a name

    def add(self, section: str, wanted: str, table: dict[str, Any]) -> str:
        """Put a table under the name, or one like it that is free; returns the name."""
        name = self.free_name(wanted)
        self.tables[section][name] = table
        return name

    def free_name(self, wanted: str) -> str:
        base = re.sub(r"[^\w-]+", "_", wanted)[: LONGEST_NAME - 8].strip("_") or "unnamed"
        name = base
        while any(name in members for section, members in self.tables.items() if section != "film"):
            self.counts[base] = number = self.counts.get(base, 1) + 1
            name = f"{base}_{number}"
        return name

    def hold_mesh(self, data: MeshData) -> str:
        """What stands for the mesh in a node's table."""
        place = Path(f"{self.path}#mesh{len(self.meshes)}")
        self.meshes[place] = data
        return str(place)

    def hold_picture(self, texels: np.ndarray) -> str:
        """What stands for the picture in a texture's table."""
        place = Path(f"{self.path}#picture{len(self.pictures)}")
        self.pictures[place] = np.ascontiguousarray(texels, np.float32)
        return str(place)

    def hold_volume(self, data: VolumeData) -> str:
        """What stands for the grids in a volume's table."""
        place = Path(f"{self.path}#volume{len(self.volumes)}")
        self.volumes[place] = data
        return str(place)

    def note(self, where: str, what: str) -> None:
        """Something that tidr has not, or has otherwise."""
        self.notes[f"{where}: {what}"] = None

    def warn(self, stacklevel: int) -> None:
        """One warning with all notes, if there are any."""
        if self.notes:
            told = list(self.notes)
            rest = [f"and {len(told) - NOTES_SHOWN} more"] if len(told) > NOTES_SHOWN else []
            text = "\n  ".join([f"{self.path}: left out or drawn otherwise", *told[:NOTES_SHOWN], *rest])
            warnings.warn(text, SceneWarning, stacklevel=stacklevel + 1)


def decomposed(matrix: np.ndarray) -> dict[str, Any] | None:
    """translation, quaternion and scale of a node's table that make the matrix [4, 4]; None where it is sheared,
    mirrored or flat."""
    linear = matrix[:3, :3]
    scale = np.linalg.norm(linear, axis=0)
    if not (scale > 1e-12).all() or not np.isfinite(matrix).all():
        return None
    rotation = linear / scale
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > SHEARED or np.linalg.det(rotation) < 0:
        return None
    quaternion = quaternion_from_rotation(rotation)
    return {"translation": matrix[:3, 3].tolist(), "quaternion": quaternion.tolist(), "scale": scale.tolist()}


def baked(data: MeshData, matrix: np.ndarray, turn_mirrored: bool = True) -> MeshData:
    """The mesh under a matrix [4, 4]; turn_mirrored: where that mirrors it, faces keep the side that they face."""
    linear = matrix[:3, :3]
    cofactors = np.cross(linear[[1, 2, 0]], linear[[2, 0, 1]])  # takes normals along, even where the scale is 0
    normals, mirrored = data.normals, np.linalg.det(linear) < 0
    if normals is not None:
        normals = normals @ cofactors.T * (-1.0 if mirrored else 1.0)
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    made = replace(data, vertices=data.vertices @ linear.T + matrix[:3, 3], normals=normals)
    return turned(made, keep_normals=True) if mirrored and turn_mirrored else made


def turned(data: MeshData, keep_normals: bool = False) -> MeshData:
    """The mesh with its faces' other side outside, normals included unless keep_normals."""

    def back(faces: np.ndarray | None) -> np.ndarray | None:
        return None if faces is None else np.ascontiguousarray(faces[:, ::-1])

    return replace(
        data,
        faces=back(data.faces),  # type: ignore[arg-type]
        uv_faces=back(data.uv_faces),
        normal_faces=back(data.normal_faces),
        normals=data.normals if keep_normals or data.normals is None else -data.normals,
    )
