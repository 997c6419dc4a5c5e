"""Colours of found triangles: light at every pixel, at the triangles' corners, or at their centroids."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.scene.graph import Scene

from .ambient_occlusion import ambient_occlusion
from .entries import Entries, interpolated
from .geometry import Pack
from .mesh_surface import MeshSurface
from .shading import Shading
from .shadow_maps import shadows
from .views import Views

if TYPE_CHECKING:
    from .raster import Rasterizer

SHADERS = ("phong", "gouraud", "flat")


class Corners:
    """All corners of a pack's triangles in some views, as entries: entry 3 (view * F + face) + corner."""

    def __init__(self, pack: Pack, views: int) -> None:
        faces = max(pack.faces, 1)
        self.count = 3 * pack.faces * views
        place = np.zeros((views, 3 * faces, 3), np.int32)
        place[..., 0] = np.arange(views)[:, None]
        self.place = Buffer.of(place.reshape(-1))
        self.face = Buffer.of(np.tile(np.repeat(np.arange(faces), 3), views))
        self.bary = Array.of(np.tile(np.eye(3), (faces * views, 1)))
        self.rows = Buffer.of(np.arange(3 * faces).reshape(-1, 3))


_corners: weakref.WeakKeyDictionary[Pack, dict[tuple[int, int], Corners]] = weakref.WeakKeyDictionary()


def _corners_of(pack: Pack, views: Views) -> Corners:
    held, key = _corners.setdefault(pack, {}), (runtime.generation(), views.count)
    if key not in held:
        held[key] = Corners(pack, views.count)
    return held[key]


def colors(settings: Rasterizer, scene: Scene, entries: Entries, bary: Array) -> Array:
    """[n, 3] radiance of every entry towards its camera, by the settings' shader.

    Raises:
        SceneError: "gouraud" with a trilinear texture or ambient occlusion, which need pixels.
    """
    if settings.shader == "gouraud":
        return _gouraud(settings, scene, entries, bary)
    return _shading(settings, scene, MeshSurface(entries, bary, settings.normals, settings.shader == "flat")).colors()


def _shading(settings: Rasterizer, scene: Scene, surface: MeshSurface) -> Shading:
    seen = shadows(settings, scene, surface) | ambient_occlusion(settings, scene, surface)
    return Shading(scene, surface, seen)


def _gouraud(settings: Rasterizer, scene: Scene, entries: Entries, bary: Array) -> Array:
    world, views = entries.world, entries.views
    corners = _corners_of(world.pack, views)
    at_corners = Entries(corners.count, corners.bary.rows, corners.place, corners.face, views, world, entries.screen)
    shading = _shading(settings, scene, MeshSurface(at_corners, corners.bary, settings.normals))
    if shading.trilinear or settings.ambient_occlusion is not None:
        mend = 'use "bilinear" textures and no ambient_occlusion, or another shader'
        raise SceneError('renderer.shader = "gouraud"', "knows no pixels where it looks up light", mend)
    return interpolated(entries, bary, shading.colors(), corners.rows.ndarray, 3 * max(world.pack.faces, 1))
