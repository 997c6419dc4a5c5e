"""Shading: the light of one lamp that each visible point sends to the viewer. Taichi differentiates these kernels."""

import functools

import taichi as ti

from .brdf import ambient_diffuse, unit

A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)

AMBIENT, DIRECTIONAL, POINT, UNATTENUATED = 0, 1, 2, 3


@functools.cache
def shade_kernel(brdf, ambient=ambient_diffuse):
    """The kernel of one family of materials; `shade_kernel(f).grad` with the same arguments is its adjoint.

    Args:
        brdf: a `ti.func` with the signature of those in brdf.py; a user's own is as good.
        ambient: a `ti.func` like `ambient_diffuse`.

    Returns:
        kernel(buffer, n, family_of_material, family, light_kind). It adds to `color` of those of the first n entries
        whose material is of the family (family_of_material: int ndarray [M]) the light that they reflect of the light
        in columns light_vector and light_value: radiance (AMBIENT), irradiance on a surface facing the light
        (DIRECTIONAL; UNATTENUATED: from a point), or intensity, which falls with 1 / distance^2 (POINT). Light from
        behind adds nothing. The adjoint reads color.grad, leaves it, and adds to the grad of all the other columns that
        it uses.
    """

    @ti.kernel
    def shade(buffer: ti.template(), n: ti.i32, family_of_material: A1I, family: ti.i32, light_kind: ti.i32):
        for i in range(n):
            if family_of_material[buffer.material[i]] == family:
                if light_kind == AMBIENT:
                    share = ambient(
                        buffer.albedo[i],
                        buffer.specular[i],
                        buffer.roughness[i],
                        buffer.metallic[i],
                        buffer.shininess[i],
                    )
                    buffer.color[i] += buffer.light_value[i] * share
                else:
                    to_light = buffer.light_vector[i]
                    light = unit(to_light)
                    normal = unit(buffer.normal[i])
                    cosine = normal.dot(light)
                    if cosine > 0.0:
                        received = cosine
                        if light_kind == POINT:
                            received = cosine / to_light.dot(to_light)
                        share = brdf(
                            normal,
                            unit(buffer.view[i]),
                            light,
                            buffer.albedo[i],
                            buffer.specular[i],
                            buffer.roughness[i],
                            buffer.metallic[i],
                            buffer.shininess[i],
                        )
                        buffer.color[i] += buffer.light_value[i] * share * received

    return shade
