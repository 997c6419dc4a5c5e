"""Lights: ambient, directional, point, spot, flash and environment, radiometric, RGB."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

from .harmonics import COSINE, ORDERS, basis, look_up_cube, texel_directions

BRIGHT = Constraint(clamp=(0.0, np.inf))


def rgb(value, where: str) -> np.ndarray:
    """[3] from a number or three."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (3,)):
        raise SceneError(where, f"got shape {array.shape}, expected a number or RGB")
    return np.broadcast_to(array, 3)


def _unit(direction) -> np.ndarray:
    """[3] of length 1."""
    array = np.asarray(direction, np.float64).reshape(3)
    if not np.linalg.norm(array) > 1e-12:
        raise SceneError("direction", "has length 0", "give the way the light travels")
    return array / np.linalg.norm(array)


def _angle(value, where: str, least: float = 0.0) -> Parameter:
    """One angle in radians, 0 to pi, that a fit keeps from falling below `least`."""
    if np.ndim(value) != 0 or not 0.0 <= value <= np.pi:
        raise SceneError(where, f"is {value}, expected one angle in radians, 0 to pi")
    return Parameter(value, Constraint(clamp=(least, np.pi)))


class AmbientLight:
    """Constant radiance [3] from everywhere; nothing hides it but by the rasterizer's `ambient_occlusion`."""

    def __init__(self, radiance) -> None:
        self.radiance = Parameter(rgb(radiance, "radiance"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"radiance": self.radiance}


class DirectionalLight:
    """Light that travels along `direction` [3] (world), with `irradiance` [3] on a surface facing it.

    angular_diameter: radians, 0 to pi. 0 means parallel light; above 0 light transport sees a disc of even radiance,
    irradiance / (pi sin^2(angular_diameter / 2)), infinitely far away (the sun's is 0.0093): shadows get soft edges.
    Half angles up to 1e-5 count as 0. The other renderers draw parallel light and ignore the angle.

    Raises:
        SceneError: a direction of length 0, or an angle outside that range.
    """

    def __init__(self, direction, irradiance, angular_diameter: float = 0.0) -> None:
        self.direction = Parameter(_unit(direction), Constraint(unit=True))
        self.irradiance = Parameter(rgb(irradiance, "irradiance"), BRIGHT)
        self.angular_diameter = _angle(angular_diameter, "angular_diameter")

    def parameters(self) -> dict[str, Parameter]:
        return {
            "direction": self.direction,
            "irradiance": self.irradiance,
            "angular_diameter": self.angular_diameter,
        }


class PointLight:
    """A point at `position` [3] (world) with radiant `intensity` [3]; irradiance falls with 1/distance^2.

    Where `attenuated` is False it does not fall, and intensity is the irradiance at any distance, as much graphics
    software has it. Renderers that follow light and those of media refuse such a light.
    """

    def __init__(self, position, intensity, attenuated: bool = True) -> None:
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)
        self.attenuated = attenuated

    def parameters(self) -> dict[str, Parameter]:
        return {"position": self.position, "intensity": self.intensity}


class FlashLight:
    """A point at the lens of whatever camera looks, with radiant `intensity` [3]: the flash of photographs.

    Each picture has its own, and throws no shadow that its camera could see. An orthographic camera's is parallel light
    along its axis, with `intensity` as irradiance. Shading of meshes and points draws it, no other renderer does.
    """

    def __init__(self, intensity) -> None:
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"intensity": self.intensity}


class SpotLight:
    """A point at `position` [3] (world) that shines into a cone around `direction` [3] (world), its axis.

    intensity: radiant intensity [3] on the axis; irradiance falls with 1/distance^2. It is full up to cutoff - falloff
    off the axis (on the axis alone, where falloff is the larger one) and 0 from `cutoff` on; in between it is times
    3 x^2 - 2 x^3, x falling linearly in the cosine of the angle from 1 to 0, so that pictures have no kink.
    cutoff, falloff: radians, 0 to pi; falloff is a quarter of the cutoff unless given. A fit keeps the cutoff at 0.001
    or more.

    What this does not differentiate: with falloff 0 the rim, where intensity jumps.

    Raises:
        SceneError: a direction of length 0, or an angle outside its range.
    """

    def __init__(self, position, direction, intensity, cutoff: float, falloff: float | None = None) -> None:
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.direction = Parameter(_unit(direction), Constraint(unit=True))
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)
        self.cutoff = _angle(cutoff, "cutoff", 1e-3)
        self.falloff = _angle(cutoff / 4 if falloff is None else falloff, "falloff")

    def parameters(self) -> dict[str, Parameter]:
        return {
            "position": self.position,
            "direction": self.direction,
            "intensity": self.intensity,
            "cutoff": self.cutoff,
            "falloff": self.falloff,
        }


class EnvironmentLight:
    """What stands infinitely far away all around the scene, behind everything, in place of the film's background.

    radiance: W / (m^2 sr), linear, not negative: a number or RGB [3] for the same everywhere, or a latitude-longitude
        (equirectangular) picture [H, W, 3]. Row 0 is straight up (+Y) and rows go down to -Y; the centre column looks
        along -Z and columns grow to the right, towards +X, as seen from inside. Texel centres lie at +0.5; look-ups are
        bilinear, wrap around in longitude and are clamped at the poles.
    rotation: radians about +Y, a number, by the right-hand rule: a positive one moves the picture to the left.

    Programs agree on everything but where the centre column looks: Mitsuba's looks along +Z (rotation pi makes it the
    same), Blender's along its +X, which is +X here once a file is turned to Y-up (rotation -pi / 2).

    Light transport (paths and photons) lights the scene by it. So does local shading (raster, surface points, level
    sets, meshes of hybrid pictures), without shadows: materials get its diffuse light from all around a normal, and
    metallic_roughness a highlight by the split sum, blurred with its roughness (Karis 2013; Munkberg et al. 2022);
    those of phong and blinn_phong show lamps alone. Other renderers show it directly only: media are lit by the other
    lights alone. Depth and alpha do not know it. A scene has at most one.

    What this does not differentiate: the kinks of bilinear look-ups at texel centres; slopes towards the camera and the
    rotation are those between them, 0 straight up and down. A picture finer than the camera's pixels is not averaged
    over them. Highlights do not change with roughness where their lobe is narrower than half a texel.

    Raises:
        SceneError: another shape; negative radiance, or radiance or rotation that is not finite.
    """

    def __init__(self, radiance, rotation: float = 0.0) -> None:
        array = np.asarray(radiance, np.float64)
        if array.ndim < 2:
            array = rgb(array, "radiance")
        elif array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise SceneError("environment", f"radiance has shape {array.shape}, expected a number, RGB or [H, W, 3]")
        bad = ~(np.isfinite(array) & (array >= 0))
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            what = f"radiance is {array[where]} at index {where}"
            raise SceneError("environment", what, "give finite numbers of 0 or more")
        if np.ndim(rotation) != 0 or not np.isfinite(rotation):
            raise SceneError("environment", f"rotation is {rotation}", "give one finite angle in radians")
        self.radiance = Parameter(array, BRIGHT)
        self.rotation = Parameter(rotation)

    @classmethod
    def of_cube(cls, faces, height: int | None = None) -> EnvironmentLight:
        """From a cube map, faces [6, N, N, 3]: +X, -X, +Y, -Y, +Z, -Z, each as OpenGL and nvdiffrast keep it.

        It is brought to a latitude-longitude picture of `height` rows, 2 N unless given, once and bilinearly within
        each face; that picture is the parameter.

        Raises:
            SceneError: another shape; negative radiance, or radiance that is not finite.
        """
        cube = np.asarray(faces, np.float64)
        if cube.ndim != 4 or cube.shape[0] != 6 or cube.shape[1] != cube.shape[2] or cube.shape[3] != 3:
            raise SceneError("environment", f"faces have shape {cube.shape}, expected [6, N, N, 3]")
        rows = height or 2 * cube.shape[1]
        found = look_up_cube(cube, texel_directions(rows, 2 * rows)[0])
        return cls(found.reshape(rows, 2 * rows, 3))

    def parameters(self) -> dict[str, Parameter]:
        return {"radiance": self.radiance, "rotation": self.rotation}


class SphericalHarmonicLight:
    """Radiance from far away, L(d) = sum of coefficients[k] Y_k(d), that lights surfaces without shadows.

    coefficients: [1, 3], [4, 3], [9, 3] or [16, 3], linear RGB, for orders 0 to 0, 1, 2 or 3; of any sign. Y_k are the
    real harmonics without Condon-Shortley phase, orthonormal over the sphere, in world axes, order by order: 0.282095;
    0.488603 (y, z, x); 1.092548 xy, 1.092548 yz, 0.315392 (3 z^2 - 1), 1.092548 xz, 0.546274 (x^2 - y^2); and so on.

    A surface with normal n receives E(n) = sum of A_l coefficients[k] Y_k(n) with A = pi, 2 pi / 3, pi / 4 and 0: what
    order 3 adds to a surface's light is nothing (Ramamoorthi, Hanrahan 2001, "An Efficient Representation for
    Irradiance Environment Maps"). Materials answer to E / pi as to ambient light of that radiance, so a highlight is
    as broad as a diffuse surface's. Local shading draws it (raster, surface points, level sets); volumes and light
    transport refuse it: `environment` makes what they can follow. It is no background.

    Raises:
        SceneError: another shape, or numbers that are not finite.
    """

    def __init__(self, coefficients) -> None:
        array = np.asarray(coefficients, np.float64)
        if array.ndim != 2 or array.shape[1] != 3 or len(array) not in [(n + 1) ** 2 for n in range(ORDERS)]:
            what = f"coefficients have shape {array.shape}, expected [1, 3], [4, 3], [9, 3] or [16, 3]"
            raise SceneError("spherical harmonics", what, "give (order + 1)^2 rows of RGB")
        if not np.isfinite(array).all():
            raise SceneError("spherical harmonics", "a coefficient is not finite", "give finite numbers")
        self.coefficients = Parameter(array)

    @classmethod
    def fit(cls, directions, values, order: int = 2, irradiance: bool = False, weights=None) -> SphericalHarmonicLight:
        """The light that is nearest to samples, by least squares: exact where they are those of such a light.

        Args:
            directions: [n, 3], world, of any length above 0: from where radiance comes, or normals.
            values: [n, 3] or [n]: radiance, or with `irradiance` what surfaces of these normals receive (radiance that
                a white diffuse surface sends out, times pi), of order 2 at most.
            weights: [n], of the squared errors; equal ones unless given.

        Raises:
            SceneError: shapes that do not fit together, or samples that leave coefficients undetermined.
        """
        towards, given = np.asarray(directions, np.float64), np.asarray(values, np.float64)
        if not 0 <= order < (ORDERS - 1 if irradiance else ORDERS):
            raise SceneError("spherical harmonics", f"order is {order}", "take 0 to 3, of irradiance 0 to 2")
        if towards.ndim != 2 or towards.shape[1] != 3 or given.shape not in (towards.shape, towards.shape[:1]):
            what = f"directions {towards.shape} and values {given.shape} do not fit together"
            raise SceneError("spherical harmonics", what, "give [n, 3] and [n, 3]")
        if not (np.linalg.norm(towards, axis=1) > 0).all():
            raise SceneError("spherical harmonics", "a direction has length 0")
        matrix = basis(towards, order)
        if irradiance:
            matrix = matrix * np.repeat(COSINE[: order + 1], 2 * np.arange(order + 1) + 1)
        share = np.sqrt(np.ones(len(towards)) if weights is None else np.asarray(weights, np.float64))[:, None]
        rgb = np.broadcast_to(given.reshape(len(given), -1), (len(given), 3))
        found, _, rank, _ = np.linalg.lstsq(share * matrix, share * rgb, rcond=1e-10)
        if rank < matrix.shape[1]:
            what = f"{len(towards)} samples leave some of {matrix.shape[1]} coefficients undetermined"
            raise SceneError("spherical harmonics", what, "give more directions, all around, or a lower order")
        return cls(found)

    @classmethod
    def of_environment(cls, light: EnvironmentLight, order: int = 2) -> SphericalHarmonicLight:
        """The light nearest to an environment, its texels weighed by their solid angles.

        Raises:
            SceneError: a picture of fewer texels than the order has coefficients.
        """
        texels = light.radiance.numpy().astype(np.float64)
        if texels.ndim == 1:
            rows = np.zeros(((order + 1) ** 2, 3))
            rows[0] = texels * math.sqrt(4 * math.pi)
            return cls(rows)
        directions, solid_angles = texel_directions(*texels.shape[:2])
        turn = float(light.rotation.numpy())
        sine, cosine = math.sin(turn), math.cos(turn)
        world = directions @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
        return cls.fit(world, texels.reshape(-1, 3), order, weights=solid_angles)

    def radiance(self, directions) -> np.ndarray:
        """[n, 3] radiance from directions [n, 3], world, of any length above 0; negative where coefficients say so."""
        coefficients = self.coefficients.numpy().astype(np.float64)
        return basis(np.asarray(directions, np.float64), math.isqrt(len(coefficients)) - 1) @ coefficients

    def environment(self, height: int = 64) -> EnvironmentLight:
        """Its radiance as a latitude-longitude picture [height, 2 height, 3] for every renderer; 0 where negative."""
        directions, _ = texel_directions(height, 2 * height)
        return EnvironmentLight(np.maximum(self.radiance(directions), 0.0).reshape(height, 2 * height, 3))

    def parameters(self) -> dict[str, Parameter]:
        return {"coefficients": self.coefficients}


def refuse_flash(lights: Mapping[str, Light]) -> None:
    """Raise a SceneError where a light goes with the camera."""
    for name, light in lights.items():
        if isinstance(light, FlashLight):
            mend = "draw meshes with the rasterizer, or put a point light at the camera's place"
            raise SceneError(f"lights.{name}", "is a flash, which this renderer cannot draw", mend)


def refuse_unattenuated(lights: Mapping[str, Light]) -> None:
    """Raise a SceneError at a point light that does not fall with distance, at a flash and at spherical harmonics."""
    refuse_flash(lights)
    for name, light in lights.items():
        if isinstance(light, SphericalHarmonicLight):
            mend = "put the EnvironmentLight that its `environment` makes in its place"
            raise SceneError(f"lights.{name}", "is spherical harmonics, which light local shading only", mend)
        if isinstance(light, PointLight) and not light.attenuated:
            mend = "set attenuated = true, or draw meshes with the rasterizer"
            raise SceneError(f"lights.{name}", "does not fall with distance, which this renderer cannot draw", mend)


LocalLight = AmbientLight | DirectionalLight | PointLight | SpotLight  # those that shine on surfaces and media
Light = LocalLight | FlashLight | EnvironmentLight | SphericalHarmonicLight
