"""Scenes that hold materials for light transport."""

import tidr


def lit(*materials: tuple[str, tidr.Material]) -> tidr.Scene:
    """A scene in which a mesh has all of these materials."""
    scene = tidr.Scene(tidr.Film(8, 8))
    for name, material in materials:
        scene.add_material(name, material)
    scene.add_node("ball", tidr.Node(tidr.Mesh(*tidr.icosphere(0)), tuple(scene.materials)))
    return scene
