"""Level of detail: T19 a proxy of 500 triangles and two textures, fitted to pictures of a glossy thing of 20,480."""

from collections.abc import Mapping, Sequence

import numpy as np

from tidr.array import Array
from tidr.files.scene_file import load_scene
from tidr.fitting.large_steps import LargeSteps
from tidr.fitting.losses import charbonnier, mse, psnr
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.fitting.regularizers import normal_consistency
from tidr.fitting.tape import Loss
from tidr.renderers.baking import texels_of
from tidr.renderers.renderer import Image
from tidr.scene.camera import sphere_views
from tidr.scene.graph import Scene
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh
from tidr.scene.neighbors import nearest
from tidr.scene.texture import Texture

from .figures import pictures
from .runner import SIZE, Problem, Softness, Task

VIEWS, GAIN_DB = 48, 3.0


def baked(mesh: Mesh, original: Mesh, size: int) -> np.ndarray:
    """The original's colours, as they are nearest to the mesh, as a texture [size, size, 3]."""
    found = texels_of(mesh, size)
    assert found is not None
    texels, faces, bary = found
    points = (mesh.vertices.numpy()[mesh.faces[faces]] * bary[:, :, None]).sum(1)
    numbers, _ = nearest(original.vertices.numpy(), points)
    picture = np.full((size, size, 3), 0.25)
    picture[texels] = np.asarray(original.colors)[numbers[:, 0]]
    return picture


def fitted_proxy() -> Task:
    """Views of the pebble in its own material. Error: how far the PSNR of the views kept out, as screens show them
    (clipped at 1, where the highlights go up to 4), is below that of a proxy that was only decimated and has the
    pebble's own colours and roughness.
    """
    from tidr.scenes.make_proxy import TEXTURE, original, pebble

    options = {"fov_y_degrees": 40.0, "width": SIZE, "height": SIZE}
    cameras, kept_out = sphere_views(VIEWS, 3.2, **options), sphere_views(4, 3.2, turn_degrees=77.0, **options)
    whole, scene = original(), load_scene("proxy")
    targets = pictures(whole, cameras, "rgb", "alpha")
    node = scene["pebble"]
    albedo = Texture(baked(node.mesh, pebble(), TEXTURE), wrap="clamp")
    bumps = Texture(np.broadcast_to((0.5, 0.5, 1.0), (TEXTURE, TEXTURE, 3)), wrap="clamp")
    scene.materials["paint"] = Material("metallic_roughness", albedo=albedo, roughness=0.35, normal=bumps)
    paint = scene.parameters("paint.albedo", "paint.roughness", "paint.normal")

    def shown(scene: Scene) -> np.ndarray:
        return np.clip(pictures(scene, kept_out, "rgb")["rgb"], 0, 1)

    expected = shown(whole)
    plain = psnr(shown(scene), expected)

    def loss(image: Image, found: Mapping[str, Array]) -> Sequence[tuple[Loss, float]]:
        likeness = charbonnier(image.channel("rgb"), found["rgb"])  # for mse highlights would be all that counts
        outline = mse(image.channel("alpha"), found["alpha"])
        return [(likeness, 1.0), (outline, 1.0), (normal_consistency(node.mesh), 1e-3)]

    return Task(
        scene=scene,
        cameras=cameras,
        targets=targets,
        optimizer=Optimizers(
            [LargeSteps(node, lr=2e-3, lam=3.0)] + [Adam(parameter, lr=5e-3) for parameter in paint.values()]
        ),
        error=lambda: plain - psnr(shown(scene), expected),
        softness=Softness(sigma=(1e-5, 1e-6)),
        loss=loss,
        views_per_step=4,
    )


PROBLEMS = (
    Problem(
        name="T19",
        title="500 triangles and two textures like 20,480",
        measure="dB less than plain decimation",
        threshold=-GAIN_DB,
        build=fitted_proxy,
        check_every=10,
        shown=("paint.roughness", 0),
    ),
)
