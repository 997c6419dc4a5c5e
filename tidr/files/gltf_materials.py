"""glTF's materials with all that tidr has of them: metallic-roughness, normal maps, emission, opacity, wrapping."""

from typing import Any

import numpy as np

from .gltf import material_data, pbr_of, picture_of
from .gltf_container import Gltf
from .guard import number, numbers
from .imported import Imported

WRAPS = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
STRENGTH = "KHR_materials_emissive_strength"
UNDERSTOOD = (STRENGTH, "KHR_materials_unlit")


class GltfMaterials:
    """Puts materials into a scene's tables, each once with and once without vertex colours."""

    def __init__(self, gltf: Gltf, scene: Imported) -> None:
        self.gltf, self.scene = gltf, scene
        self.names: dict[tuple[int | None, bool], str] = {}
        self.pixels = [gltf.limits.pixels]

    def named(self, index: int | None, colored: bool) -> str:
        """The name of a material; colored: on a mesh with vertex colours, into which `dye` went."""
        key = (index, colored)
        if key not in self.names:
            table, wanted = self.table(index)
            if colored and not isinstance(table["albedo"], dict):
                table["albedo"] = "vertex_colors"
            elif colored:
                self.scene.note(f"materials[{index}]", "vertex colours do not dye its picture")
            self.names[key] = self.scene.add("materials", wanted, table)
        return self.names[key]

    def dye(self, index: int | None) -> np.ndarray:
        """[3] what vertex colours are multiplied by: the material's colour, 1 beside a picture, which they let be."""
        if index is None:
            return np.ones(3)
        _, pbr, here = pbr_of(self.gltf, index, f"materials[{index}]")
        factor = [1, 1, 1, 1] if "baseColorTexture" in pbr else pbr.get("baseColorFactor", [1, 1, 1, 1])
        return np.clip(numbers(factor, self.gltf.at(f"{here}.baseColorFactor"), 4)[:3], 0.0, 1.0)

    def table(self, index: int | None) -> tuple[dict[str, Any], str]:
        if index is None:
            return {"type": "lambert", "albedo": 0.5}, "default"
        entry, pbr, here = pbr_of(self.gltf, index, f"materials[{index}]")
        at_entry = f"materials[{index}]"
        data = material_data(self.gltf, index, self.pixels)
        table: dict[str, Any] = {"type": "metallic_roughness"}
        for slot, value in data.values.items():
            owner = "baseColorTexture" if slot == "albedo" else "metallicRoughnessTexture"
            table[slot] = self.held(value, pbr, owner, here) if np.ndim(value) >= 2 else np.asarray(value).tolist()
        if isinstance(table["albedo"], list):
            table["albedo"] = np.clip(table["albedo"], 0.0, 1.0).tolist()
        opacity = self.opacity(entry, pbr, here, at_entry)
        if opacity is not None:
            table["opacity"] = opacity
        emission = self.emission(entry, at_entry)
        if emission is not None:
            table["emission"] = emission
        if "normalTexture" in entry:
            table["normal"] = self.normal(entry, at_entry)
        if "occlusionTexture" in entry:
            self.scene.note(at_entry, "occlusionTexture is left out")
        for name in self.gltf.get(entry, "extensions", dict, at_entry, {}):
            if name not in UNDERSTOOD:
                self.scene.note(at_entry, f"{name[:60]} is left out")
            elif name != STRENGTH:
                self.scene.note(at_entry, "is unlit in glTF and lit here")
        return table, data.name

    def held(self, texels: np.ndarray, owner: dict, name: str, here: str) -> dict[str, Any]:
        """A picture as the value of a slot, wrapped as its sampler says."""
        place = f"{here}.{name}"
        reference = self.gltf.get(owner, name, dict, here)
        texture, at_texture = self.gltf.item("textures", reference.get("index"), f"{place}.index")
        wrap = "repeat"
        if "sampler" in texture:
            sampler, at_sampler = self.gltf.item("samplers", texture["sampler"], f"{at_texture}.sampler")
            found = {WRAPS.get(self.gltf.get(sampler, key, int, at_sampler, 10497)) for key in ("wrapS", "wrapT")}
            if len(found) == 1 and None not in found:
                wrap = str(found.pop())
            else:
                self.scene.note(at_sampler, "wraps its two sides in different ways, drawn repeated")
        if "extensions" in reference:
            self.scene.note(place, "its extensions are left out")
        return {"texture": self.scene.hold_picture(texels), "wrap": wrap, "filter": "bilinear"}

    def opacity(self, entry: dict, pbr: dict, here: str, at_entry: str) -> Any:
        """The share of light that is stopped: alpha where it blends, 0 or 1 where a cutoff decides; None if opaque."""
        mode = entry.get("alphaMode", "OPAQUE")
        if mode not in ("MASK", "BLEND"):
            return None
        alpha = number(pbr.get("baseColorFactor", [1, 1, 1, 1])[3], self.gltf.at(f"{here}.baseColorFactor[3]"), 0, 1)
        picture = picture_of(self.gltf, pbr, "baseColorTexture", here, self.pixels, srgb=True)
        cutoff = number(entry.get("alphaCutoff", 0.5), self.gltf.at(f"{at_entry}.alphaCutoff"), 0)
        texels = np.full((1, 1, 1), alpha, np.float32)
        if picture is not None and picture.shape[2] == 4:
            texels = picture[..., 3:] * np.float32(alpha)
        if mode == "MASK":
            texels = (texels >= cutoff).astype(np.float32)
        if (texels == 1).all():
            return None
        if picture is None or picture.shape[2] < 4:
            return float(texels[0, 0, 0])
        return self.held(texels, pbr, "baseColorTexture", here)

    def emission(self, entry: dict, here: str) -> Any:
        factor = numbers(entry.get("emissiveFactor", [0, 0, 0]), self.gltf.at(f"{here}.emissiveFactor"), 3)
        extensions = self.gltf.get(entry, "extensions", dict, here, {})
        if STRENGTH in extensions:
            owner = self.gltf.get(extensions, STRENGTH, dict, f"{here}.extensions")
            where = self.gltf.at(f"{here}.extensions.{STRENGTH}.emissiveStrength")
            factor = factor * number(owner.get("emissiveStrength", 1.0), where, 0)
        factor = np.maximum(factor, 0.0)
        if not factor.any():
            return None
        picture = picture_of(self.gltf, entry, "emissiveTexture", here, self.pixels, srgb=True)
        if picture is None:
            return factor.tolist()
        return self.held(picture[..., :3] * factor.astype(np.float32), entry, "emissiveTexture", here)

    def normal(self, entry: dict, here: str) -> dict[str, Any]:
        """A map of normals; `scale` stretches its x and y."""
        texels = picture_of(self.gltf, entry, "normalTexture", here, self.pixels, srgb=False)
        assert texels is not None
        texels = texels[..., :3]
        reference = self.gltf.get(entry, "normalTexture", dict, here)
        scale = number(reference.get("scale", 1.0), self.gltf.at(f"{here}.normalTexture.scale"))
        if scale != 1:
            bent = (2 * texels - 1) * np.array([scale, scale, 1.0], np.float32)
            texels = (bent / np.maximum(np.linalg.norm(bent, axis=2, keepdims=True), 1e-6) + 1) / 2
        return self.held(texels, entry, "normalTexture", here)
