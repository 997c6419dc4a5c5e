"""PyTorch3D's shaders (Ravi et al. 2020) as settings of the rasterizer, and its lights and material as a look.

    scene.add_node("cow", tidr.Node(mesh, ("paint",)))
    tidr.shaders.add_look(scene, "paint", "vertex_colors", direction=(0, 1, 1))
    image = tidr.render(scene, renderer=tidr.shaders.soft_phong(blur_radius=1e-5, faces_per_pixel=8))

Pictures equal PyTorch3D's where the cameras do: distances in squared NDC, the K nearest triangles, sigmoid alpha,
softmax colours, normals as the triangles are wound. A film's background is theirs with `Film(w, h, (1, 1, 1))`.
Hard shaders draw sharp triangles, as theirs with blur_radius 0; znear and zfar of soft ones are those of their camera.

The look is a lookalike: light that does not fall with distance and adds albedo n.l + specular (r.v)^s, which may send
out more than it receives. Everything else in tidr is radiometric: irradiance, intensity / distance^2, and BRDFs
that reflect at most what arrives (the material "phong" has albedo / pi and a normalised lobe).
"""

import numpy as np

from .errors import SceneError
from .renderers.raster import Rasterizer
from .scene.graph import Scene
from .scene.light import AmbientLight, DirectionalLight, PointLight, rgb
from .scene.material import Material

CHANNELS = ("rgb", "alpha")


def _hard(shader: str) -> Rasterizer:
    return Rasterizer(edges="none", shader=shader, normals="pytorch3d")


def _soft(
    shader: str, channels: tuple[str, ...], sigma, gamma, blur_radius, faces_per_pixel, znear, zfar
) -> Rasterizer:
    return Rasterizer(
        edges="soft", channels=channels, shader=shader, normals="pytorch3d", sigma=sigma, gamma=gamma,
        blur_radius=blur_radius, faces_per_pixel=faces_per_pixel, depth_range=(znear, zfar), color_mode="pytorch3d",
    )  # fmt: skip


def hard_phong() -> Rasterizer:
    """The nearest triangle's colour, lit at every pixel."""
    return _hard("phong")


def hard_gouraud() -> Rasterizer:
    """The nearest triangle's colour, lit at its corners."""
    return _hard("gouraud")


def hard_flat() -> Rasterizer:
    """The nearest triangle's colour, lit at its centroid on its own normal."""
    return _hard("flat")


def soft_phong(
    sigma: float = 1e-4, gamma: float = 1e-4, blur_radius: float = 0.0, faces_per_pixel: int = 1, znear: float = 1.0,
    zfar: float = 100.0,
) -> Rasterizer:  # fmt: skip
    """Softmax of the nearest triangles' colours, lit at every pixel."""
    return _soft("phong", CHANNELS, sigma, gamma, blur_radius, faces_per_pixel, znear, zfar)


def soft_gouraud(
    sigma: float = 1e-4, gamma: float = 1e-4, blur_radius: float = 0.0, faces_per_pixel: int = 1, znear: float = 1.0,
    zfar: float = 100.0,
) -> Rasterizer:  # fmt: skip
    """Softmax of the nearest triangles' colours, lit at their corners."""
    return _soft("gouraud", CHANNELS, sigma, gamma, blur_radius, faces_per_pixel, znear, zfar)


def soft_silhouette(sigma: float = 1e-4, blur_radius: float = 0.0, faces_per_pixel: int = 1) -> Rasterizer:
    """Sigmoid alpha alone. Tutorials take blur_radius = ln(1 / 1e-4 - 1) sigma and 50 to 100 faces a pixel."""
    return _soft("phong", ("alpha",), sigma, 1e-4, blur_radius, faces_per_pixel, 1.0, 100.0)


def add_look(
    scene: Scene, name: str, texels=1.0, *, location=None, direction=None, ambient_color=0.5, diffuse_color=0.3,
    specular_color=0.2, shininess: float = 64.0,
) -> None:  # fmt: skip
    """Add PyTorch3D's lights and material: the material `name`, the lights `name`_ambient and `name`_light.

    Colours are those of the lights times those of their `Materials` (which are 1 there unless given), numbers or RGB.

    Args:
        texels: what the material's albedo takes: a colour, a `Texture`, or "vertex_colors".
        location: of `PointLights`, world; (0, 1, 0) where neither this nor `direction` is given.
        direction: towards the light, as their `DirectionalLights` has it.

    Raises:
        SceneError: both location and direction, or a specular colour in a channel whose diffuse colour is 0.
    """
    if location is not None and direction is not None:
        raise SceneError("shaders.add_look", "got location and direction", "give one of them")
    diffuse, shine = rgb(diffuse_color, "diffuse_color"), rgb(specular_color, "specular_color")
    if ((diffuse <= 0) & (shine != 0)).any():
        mend = "give a little diffuse_color and black texels"
        raise SceneError("shaders.add_look", "specular_color is not 0 where diffuse_color is", mend)
    ratio = np.divide(shine, diffuse, out=np.zeros(3), where=diffuse > 0)
    scene.add_material(name, Material("pytorch3d", albedo=texels, specular=ratio, shininess=shininess))
    scene.add_light(f"{name}_ambient", AmbientLight(ambient_color))
    if direction is None:
        light = PointLight((0.0, 1.0, 0.0) if location is None else location, diffuse, attenuated=False)
    else:
        light = DirectionalLight(-np.asarray(direction, np.float64), diffuse)
    scene.add_light(f"{name}_light", light)
