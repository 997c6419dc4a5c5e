"""What the tables of light transport's materials say, and what is refused."""

import re

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.kernels.transport import materials as kernels
from tidr.kernels.transport import slots
from tidr.renderers.transport_materials import KINDS, ROUGH, TransportMaterials
from tidr.scene.material import MATERIAL_TYPES
from tidr.scene.texture import Texture

from .material_scenes import lit


def test_what_a_scene_does_not_use_is_not_compiled(f32):
    scene = lit(("a", tidr.Material("lambert")))
    scene.add_material("unused", tidr.Material("principled", emission=1.0))
    made = TransportMaterials(scene, ["", "a", "unused"])
    assert made.mask == 1 << slots.LAMBERT
    assert (made.rows, list(made.emitting)) == (1, [])


def test_kinds_and_flags_follow_from_the_materials(f32):
    kinds = {
        "lambert": slots.LAMBERT, "phong": slots.PHONG, "blinn_phong": slots.BLINN_PHONG,
        "metallic_roughness": slots.METALLIC_ROUGHNESS, "conductor": slots.CONDUCTOR, "dielectric": slots.DIELECTRIC,
        "thin_dielectric": slots.THIN_DIELECTRIC, "plastic": slots.PLASTIC, "principled": slots.PRINCIPLED,
    }  # fmt: skip
    rough = {"conductor": slots.ROUGH_CONDUCTOR, "dielectric": slots.ROUGH_DIELECTRIC, "plastic": slots.ROUGH_PLASTIC}
    cases = [(tidr.Material(kind, emission=1.0), kinds[kind]) for kind in kinds]
    cases += [(tidr.Material(kind, roughness=0.2), rough[kind]) for kind in rough]
    scene = lit(*((str(number), material) for number, (material, _) in enumerate(cases)))
    made = TransportMaterials(scene, ["", *scene.materials])
    table = made.kinds.to_numpy()
    assert list(table[1:, kernels.KIND]) == [kind for _, kind in cases]
    passing = {slots.DIELECTRIC, slots.ROUGH_DIELECTRIC, slots.THIN_DIELECTRIC, slots.PRINCIPLED}
    two_sided = table[1:, kernels.FLAGS] >> kernels.TWO_SIDED & 1
    assert [bool(flag) for flag in two_sided] == [kind not in passing for _, kind in cases]
    assert list(made.emitting) == [1 + number for number in range(len(kinds))]
    assert made.mask & kernels.KINDS == sum(1 << kind for _, kind in cases)


def test_a_slot_that_a_type_has_is_read_by_its_kind_and_no_other():
    for kind, number in {**KINDS, **{f"rough {kind}": number for kind, number in ROUGH.items()}}.items():
        given = {"eta" if name == "ior" else name for name in MATERIAL_TYPES[kind.removeprefix("rough ")]}
        if kind in ROUGH:
            given.remove("roughness")
        read = {name for name, readers in zip(kernels.NAMES, kernels.READERS, strict=False) if readers >> number & 1}
        assert read == given, kind


def test_a_texture_is_stored_once_and_nothing_is_allocated_again(f32):
    picture = Texture(np.full((4, 8, 3), 0.5))
    scene = lit(
        ("a", tidr.Material("phong", albedo=picture, specular=picture)), ("b", tidr.Material("lambert", albedo=picture))
    )
    names = ["", *scene.materials]
    assert TransportMaterials(scene, names).rows == 4 * 8 + 1
    before = buffer.allocations
    TransportMaterials(scene, names)
    assert buffer.allocations == before


@pytest.mark.parametrize(
    ("materials", "expected"),
    [
        ({"a": ("blend", {"first": "a", "second": "b"})}, "materials.a.first: 'a' is a blend itself"),
        ({"a": ("blend", {"first": "ab", "second": "b"}), "ac": ("lambert", {})}, "no material 'ab' (did you mean 'a"),
        ({"a": ("lambert", {"emission": "vertex_colors"})}, 'materials.a.emission: is "vertex_colors" but no mesh'),
    ],
)
def test_contradictions_are_told(materials, expected, f32):
    scene = lit(*((name, tidr.Material(kind, **values)) for name, (kind, values) in materials.items()))
    with pytest.raises(SceneError, match=re.escape(expected)):
        TransportMaterials(scene, ["", *scene.materials])


def test_a_registered_material_has_no_transport(f32, monkeypatch):
    monkeypatch.setitem(MATERIAL_TYPES, "velvet", {})
    scene = lit(("cloth", tidr.Material("velvet")))
    with pytest.raises(SceneError, match=r"materials\.cloth: light transport has no model for type 'velvet'"):
        TransportMaterials(scene, ["", "cloth"])
