"""Level of detail: T19 a proxy of 500 triangles and a texture, fitted to pictures of a glossy thing of 20,480."""

from collections.abc import Mapping, Sequence

import numpy as np

from tidr.array import Array
from tidr.files.scene_file import load_scene
from tidr.fitting.large_steps import LargeSteps
from tidr.fitting.losses import mse, psnr
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.fitting.regularizers import normal_consistency
from tidr.fitting.tape import Loss
from tidr.renderers.renderer import Image
from tidr.scene.camera import sphere_views
from tidr.scene.mesh import Mesh
from tidr.scene.neighbors import nearest

from .figures import pictures
from .runner import SIZE, Problem, Softness, Task

VIEWS, GAIN_DB = 12, 3.0
KNOWN: dict[str, str] = dict.fromkeys(("none", "genova"), "silhouettes have no slopes: the outline stays as decimated")
KNOWN |= {
    "dibr": "colours have no slopes where triangles end: alpha's fade alone moves the outline",
    "splat": "the texture makes up for the blur of splats, which other pictures of it do not have",
}


def texel_places(mesh: Mesh, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(texels int [N, 2] row and column, points [N, 3]): what of a texture lies on the mesh, and where."""
    texels, points = [], []
    for corners, places in zip(np.asarray(mesh.uvs)[mesh.uv_faces], mesh.vertices.numpy()[mesh.faces], strict=True):
        pixels = corners * (size, -size) + (0, size)
        low, high = np.floor(pixels.min(0)).astype(int) - 1, np.ceil(pixels.max(0)).astype(int) + 1
        column, row = (part.ravel() for part in np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True))))
        edges = np.linalg.solve((pixels[1:] - pixels[0]).T, np.stack([column, row]) + 0.5 - pixels[:1].T)
        weights = np.clip(np.stack([1 - edges.sum(0), *edges]), 0, None)
        near = np.stack([1 - edges.sum(0), *edges]).min(0) > -0.5  # and a rim, for look-ups between texels
        texels.append(np.stack([row, column], 1)[near])
        points.append((weights / weights.sum(0)).T[near] @ places)
    return np.clip(np.concatenate(texels), 0, size - 1), np.concatenate(points)


def baked(mesh: Mesh, original: Mesh, size: int) -> np.ndarray:
    """The original's colours, as they are nearest to the mesh, as a texture [size, size, 3]."""
    texels, points = texel_places(mesh, size)
    numbers, _ = nearest(original.vertices.numpy(), points)
    picture = np.full((size, size, 3), 0.25)
    picture[tuple(texels.T)] = np.asarray(original.colors)[numbers[:, 0]]
    return picture


def fitted_proxy() -> Task:
    """Views of the pebble in its own material. Error: how far the PSNR of the views kept out is below that of a
    proxy that was only decimated and has the pebble's own colours and roughness.
    """
    from tidr.scenes.make_proxy import TEXTURE, original, pebble

    options = {"fov_y_degrees": 40.0, "width": SIZE, "height": SIZE}
    cameras, kept_out = sphere_views(VIEWS, 3.2, **options), sphere_views(4, 3.2, turn_degrees=77.0, **options)
    whole, scene = original(), load_scene("proxy")
    targets, expected = pictures(whole, cameras, "rgb", "alpha"), pictures(whole, kept_out, "rgb")["rgb"]
    node, paint = scene["pebble"], scene.parameters("paint.albedo", "paint.roughness")
    paint["paint.albedo"].set(baked(node.mesh, pebble(), TEXTURE))

    def likeness() -> float:
        return psnr(pictures(scene, kept_out, "rgb")["rgb"], expected)

    plain = likeness()

    def loss(image: Image, found: Mapping[str, Array]) -> Sequence[tuple[Loss, float]]:
        pairs = [(mse(image.channel(name), target), 1.0) for name, target in found.items()]
        return [*pairs, (normal_consistency(node.mesh), 1e-3)]

    return Task(
        scene=scene,
        cameras=cameras,
        targets=targets,
        optimizer=Optimizers(
            [LargeSteps(node, lr=2e-3, lam=3.0)]
            + [Adam(parameter, lr=rate) for parameter, rate in zip(paint.values(), (5e-3, 5e-3), strict=True)]
        ),
        error=lambda: plain - likeness(),
        softness=Softness(sigma=(1e-5, 1e-6)),
        loss=loss,
        views_per_step=4,
    )


PROBLEMS = (
    Problem(
        name="T19",
        title="500 triangles and a texture like 20,480",
        measure="dB less than plain decimation",
        threshold=-GAIN_DB,
        build=fitted_proxy,
        check_every=10,
        known=KNOWN,
        shown=("paint.roughness", 0),
    ),
)
