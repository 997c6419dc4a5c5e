"""A material of your own: velvet, which is brightest where it is seen along its surface. Taichi differentiates it."""

import taichi as ti

import tidr
from tidr.scene.material import Slot


@tidr.register_material("velvet", {"albedo": Slot(3, 0.5), "roughness": Slot(1, 0.5)})
@ti.func
def velvet(normal, view, light, albedo, specular, roughness, metallic, shininess):
    rim = 1.0 - normal.dot(view)
    return albedo * (rim * rim + roughness) / 3.14159265
