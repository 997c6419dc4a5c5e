"""Materials of light transport: values at a point against numpy, and their gradients."""

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.compiling import large
from tidr.kernels.transport import materials as kernels
from tidr.kernels.transport import normal_map, slots
from tidr.kernels.transport.tables import Tables
from tidr.parameter import Parameter
from tidr.renderers.transport_materials import TransportMaterials
from tidr.scene.texture import Texture

from .gradients import tape_gradients, weighted
from .material_scenes import lit
from .reference.materials import bent, value
from .voxel_scenes import against_f64

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
EMISSION, OPACITY, SLOPE, NORMAL, WIDTH = slots.PARAMS + np.array([0, 3, 4, 5, 8])


@ti.func
def vector(array: ti.template(), i, count: ti.template()):
    return ti.Vector([array[i, k] for k in range(count)])


# Kernels in three parts, which compile sooner than one.
VALUES, LIGHT, BUMPS = range(3)


@large
@ti.kernel
def look(
    which: ti.template(), mask: ti.template(), side: float, n: ti.i32, material: A1, uvs: A2, colors: A2, normals: A2,
    tangents: A2, fixed: A2, kinds: A2, entries: A2, values: A2, out: A2,
):  # fmt: skip
    """All that can be asked of a material at n points; fixed [n, 2]: footprint and random number."""
    for i in range(n):
        t = ti.static(Tables(*[0] * 7, kinds, entries, values, *[0] * 5))
        hit, uv, color, footprint = material[i], vector(uvs, i, 2), vector(colors, i, 3), fixed[i, 0]
        row, slope = kernels.choose(mask, hit, uv, footprint, fixed[i, 1], t)
        if ti.static(which == VALUES):
            p = kernels.gather(mask, row, uv, color, footprint, t)
            for k in ti.static(range(slots.PARAMS)):
                out[i, k] = p[k]
        if ti.static(which == LIGHT):
            shine = kernels.emission(mask, hit, uv, color, footprint, t)
            for k in ti.static(range(3)):
                out[i, EMISSION + k] = shine[k]
            out[i, OPACITY] = kernels.opacity(mask, hit, uv, footprint, t)
            out[i, SLOPE] = slope
        if ti.static(which == BUMPS):
            normal, tangent = vector(normals, i, 3), vector(tangents, i, 3)
            bent = normal_map.perturbed(mask, row, uv, footprint, normal, tangent, side, t)
            for k in ti.static(range(3)):
                out[i, NORMAL + k] = bent[k]


@ti.func
def point_adjoint(
    which: ti.template(), mask: ti.template(), i, hit, uvs: ti.template(), colors: ti.template(),
    normals: ti.template(), tangents: ti.template(), fixed: ti.template(), t: ti.template(), g: ti.template(),
    part: ti.template(), first, grad_uvs: ti.template(), grad_colors: ti.template(), grad_normals: ti.template(),
    grad_tangents: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """From row i of g [n, WIDTH] to part and the gradients of the point."""
    uv, color, footprint = vector(uvs, i, 2), vector(colors, i, 3), fixed[i, 0]
    row, slope = kernels.choose(mask, hit, uv, footprint, fixed[i, 1], t)
    to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(which == VALUES):
        to_p = vector(g, i, slots.PARAMS)
        to_uv, to_color = kernels.scatter(mask, row, uv, color, footprint, t, to_p, part, first, atomic)
    if ti.static(which == LIGHT):
        to_shine = ti.Vector([g[i, EMISSION], g[i, EMISSION + 1], g[i, EMISSION + 2]])
        to_uv, to_color = kernels.emission_scatter(mask, hit, uv, color, footprint, t, to_shine, part, first, atomic)
        to_uv += kernels.opacity_scatter(mask, hit, uv, footprint, t, g[i, OPACITY], part, first, atomic)
        to_uv += kernels.weight_scatter(mask, hit, uv, footprint, t, g[i, SLOPE] * slope, part, first, atomic)
    if ti.static(which == BUMPS):
        normal, tangent = vector(normals, i, 3), vector(tangents, i, 3)
        to_bent = ti.Vector([g[i, NORMAL], g[i, NORMAL + 1], g[i, NORMAL + 2]])
        to_uv, to_normal, to_tangent = normal_map.perturbed_scatter(
            mask, row, uv, footprint, normal, tangent, 1.0, t, to_bent, part, first, atomic
        )
        for k in ti.static(range(3)):
            grad_normals[i, k] = grad_normals[i, k] + to_normal[k]
            grad_tangents[i, k] = grad_tangents[i, k] + to_tangent[k]
    for k in ti.static(range(2)):
        grad_uvs[i, k] = grad_uvs[i, k] + to_uv[k]
    for k in ti.static(range(3)):
        grad_colors[i, k] = grad_colors[i, k] + to_color[k]


@large
@ti.kernel
def look_adjoint(
    which: ti.template(), mask: ti.template(), chunks: ti.i32, rows: ti.i32, n: ti.i32, material: A1, uvs: A2,
    colors: A2, normals: A2, tangents: A2, fixed: A2, kinds: A2, entries: A2, values: A2, g: A2, part: A1,
    grad_uvs: A2, grad_colors: A2, grad_normals: A2, grad_tangents: A2, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * rows * 3]; on a CPU each chunk of points has a copy of the values' gradient."""
    if ti.static(atomic):
        for i in range(n):
            t = ti.static(Tables(*[0] * 7, kinds, entries, values, *[0] * 5))
            point_adjoint(
                which, mask, i, material[i], uvs, colors, normals, tangents, fixed, t, g, part, 0, grad_uvs,
                grad_colors, grad_normals, grad_tangents, True,
            )  # fmt: skip
    else:
        for ticket in range(chunks * accumulate.TASK):
            t = ti.static(Tables(*[0] * 7, kinds, entries, values, *[0] * 5))
            p = ticket // accumulate.TASK
            if ticket % accumulate.TASK == 0:
                for i in range(p * n // chunks, (p + 1) * n // chunks):
                    point_adjoint(
                        which, mask, i, material[i], uvs, colors, normals, tangents, fixed, t, g, part, p * rows,
                        grad_uvs, grad_colors, grad_normals, grad_tangents, False,
                    )  # fmt: skip


class Points:
    """Points on materials given by their rows, with everything that a look-up needs."""

    def __init__(self, rows, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows = np.asarray(rows, np.int32)
        self.rows, n = rows, len(rows)
        # Away from where the bilinear patches of 4 x 4 texels and of their first mip level meet.
        patches = np.array([0.1875, 0.3125, 0.5, 0.6875, 0.8125])
        uvs = rng.choice(patches, (n, 2)) + rng.integers(-1, 2, (n, 2)) + rng.uniform(-0.02, 0.02, (n, 2))
        normals = rng.normal(size=(n, 3))
        tangents = np.cross(normals, rng.normal(size=(n, 3)))
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        self.uvs, self.colors = Parameter(uvs, path="uv"), Parameter(rng.uniform(0, 1, (n, 3)), path="color")
        self.normals = Parameter(normals / np.linalg.norm(normals, axis=1, keepdims=True), path="normal")
        self.tangents = Parameter(2 * tangents + 0.3 * normals, path="tangent")
        self.fixed = Array.of(np.stack([rng.choice([0.0, 0.3, 0.4], n), rng.choice([0.05, 0.95], n)], 1))
        self.side = 1.0
        self.material = Buffer((n,), "int")
        self.material.ndarray.from_numpy(rows)

    def arrays(self) -> list[Parameter]:
        return [self.uvs, self.colors, self.normals, self.tangents]

    def look(self, scene: tidr.Scene) -> Array:
        """[n, WIDTH] at the points, recorded."""
        made, n = TransportMaterials(scene, ["", *scene.materials]), len(self.rows)
        out, points = Array((n, WIDTH)), [array.value for array in self.arrays()]
        tables = (made.kinds, made.slots, made.values.value)

        def forward() -> None:
            for which in (VALUES, LIGHT, BUMPS):
                look(
                    which, made.mask, self.side, n, self.material.ndarray, *points, self.fixed.value, *tables, out.value
                )

        def backward() -> None:
            assert needs(made.values)
            atomic, rows = not runtime.on_cpu(), made.values.rows
            copies = 1 if atomic else 2
            part = Buffer((copies * rows * 3,))
            part.ndarray.fill(0.0)
            for which in (VALUES, LIGHT, BUMPS):
                look_adjoint(
                    which, made.mask, copies, rows, n, self.material.ndarray, *points,
                    self.fixed.value, *tables, out.grad, part.ndarray, *[array.grad for array in self.arrays()], atomic,
                )  # fmt: skip
            accumulate.collect(copies, rows, 3, part.ndarray, made.values.grad)

        run(Operation(forward, backward, [made.values, *self.arrays()], [out], "look"))
        return out


GROUPS = {  # scenes, so that no kernel holds every slot
    "opaque": ("painted", "poster", "gloss", "worn"),
    "specular": ("gold", "mirror", "glass", "frosted", "pane", "lacquer", "rubber"),
    "blended": ("poster", "gold", "skin", "mixed", "bumpy"),
}


def scene_of(group: str, seed: int = 0) -> tidr.Scene:
    """A scene with some kinds of material, whose values are from everywhere that they can come from."""
    rng = np.random.default_rng(seed)

    def picture(channels, low=0.2, high=0.8, **options):
        return Texture(rng.uniform(low, high, (4, 4, channels)), **options)

    bumps = rng.uniform(0.3, 0.7, (2, 4, 4, 3)) + np.array([0, 0, 0.3])
    bumps = [Texture(each, wrap="mirror") for each in bumps]
    materials = {
        "painted": tidr.Material("lambert", albedo="vertex_colors", emission="vertex_colors", opacity=0.7),
        "poster": tidr.Material(
            "phong", albedo=picture(3), specular=(0.1, 0.2, 0.3), emission=picture(3, 0, 9, wrap="clamp"),
            opacity=picture(1, wrap="mirror"), normal=bumps[0],
        ),
        "gloss": tidr.Material("blinn_phong", specular=picture(3), shininess=picture(1, 3.0, 30.0), emission=(3, 2, 1)),
        "worn": tidr.Material(
            "metallic_roughness", albedo=picture(3, filter="trilinear"), roughness=picture(1, wrap="clamp"),
            metallic=0.3,
        ),
        "gold": tidr.Material("conductor", preset="gold", roughness=0.3),
        "mirror": tidr.Material("conductor", eta=picture(3), k=picture(3, 1, 4), specular=0.9),
        "glass": tidr.Material("dielectric", ior=1.33, transmittance=(0.9, 0.8, 0.7)),
        "frosted": tidr.Material("dielectric", roughness=picture(1), ior=picture(1, 1.2, 1.8)),
        "pane": tidr.Material("thin_dielectric", specular=picture(3)),
        "lacquer": tidr.Material("plastic", albedo="vertex_colors"),
        "rubber": tidr.Material("plastic", roughness=0.4, specular=0.5),
        "skin": tidr.Material("principled", albedo=picture(3), sheen=picture(1), anisotropy=0.3, normal=bumps[1]),
        "mixed": tidr.Material("blend", first="poster", second="skin", weight=picture(1), opacity=0.4),
        "bumpy": tidr.Material("blend", first="gold", second="poster", weight=0.3, normal=bumps[1], emission=0.5),
    }  # fmt: skip
    scene = tidr.Scene(tidr.Film(8, 8))
    for name in GROUPS[group]:
        scene.add_material(name, materials[name])
    vertices, faces = tidr.icosphere(0)
    mesh = tidr.Mesh(vertices, faces, colors=rng.uniform(0, 1, (len(vertices), 3)))
    scene.add_node("ball", tidr.Node(mesh, tuple(scene.materials)))
    scene.add_node("bare", tidr.Node(tidr.Mesh(vertices, faces)))
    return scene


def points_of(scene: tidr.Scene, seed: int) -> Points:
    return Points(np.repeat(np.arange(len(scene.materials) + 1), 8), seed)


# The numpy twin.


def twin(scene: tidr.Scene, points: Points) -> np.ndarray:
    names, out = ["", *scene.materials], np.zeros((len(points.rows), WIDTH))
    for i, row in enumerate(points.rows):
        uv, color, n, tangent = (array.numpy()[i].astype(np.float64) for array in points.arrays())
        footprint, u = points.fixed.numpy()[i]
        hit = scene.materials.get(names[row]) or tidr.Material("lambert")
        chosen = hit
        if hit.type == "blend":
            weight = float(np.ravel(value(hit, "weight", uv, color, footprint, 0))[0])
            chosen = scene.materials[hit.blended[int(u < weight)]]
            out[i, SLOPE] = 1 / weight if u < weight else -1 / (1 - weight)
        for slot, place in slots.OFFSETS.items():
            if slot in chosen.sources and slot != "opacity":
                found = value(chosen, slot, uv, color, footprint, 0)
                out[i, place : place + np.size(found)] = found
        out[i, slots.OPACITY] = 1
        out[i, EMISSION : EMISSION + 3] = value(hit, "emission", uv, color, footprint, 0)
        out[i, OPACITY] = np.ravel(value(hit, "opacity", uv, color, footprint, 1))[0]
        owner = hit if "normal" in hit.sources else chosen
        found = value(owner, "normal", uv, color, footprint, (0.5, 0.5, 1))
        out[i, NORMAL : NORMAL + 3] = bent(2 * found - 1, n, tangent)
    return out


@pytest.mark.parametrize("group", GROUPS)
def test_every_value_equals_the_twin(backend, group):
    scene = scene_of(group)
    points = points_of(scene, 1)
    found, expected = points.look(scene).numpy(), twin(scene, points)
    assert np.abs(found - expected).max() < (1e-12 if backend.precision == 64 else 2e-4)
    assert (expected[:, :EMISSION] != 0).any(0).sum() >= 10


@pytest.mark.row(114)
@pytest.mark.parametrize("group", GROUPS)
def test_gradients_equal_differences(backend, group):
    def problem():
        scene = scene_of(group, seed=1)
        points = points_of(scene, 2)
        weights = np.random.default_rng(3).uniform(0.5, 1.5, (len(points.rows), WIDTH))
        weights[:, SLOPE] = 0  # its adjoint is an estimate, which another test looks at
        arrays = [array for array in scene.parameters().values() if array.path.partition(".")[0] in scene.materials]
        arrays = [array for array in arrays if not array.path.endswith(".weight")]
        return lambda: weighted(points.look(scene), weights), [*points.arrays(), *arrays]

    against_f64(("materials", group), problem, backend, 4)


def test_a_blend_is_chosen_by_its_weight_and_slopes_estimate_the_derivative(backend):
    dark, bright = tidr.Material("lambert", albedo=0.2), tidr.Material("plastic", albedo=0.8)
    mixed = tidr.Material("blend", first="dark", second="bright", weight=0.3)
    scene, n = lit(("dark", dark), ("bright", bright), ("mixed", mixed)), 1000
    points = Points([3] * n, 0)
    points.fixed.set(np.stack([np.zeros(n), (np.arange(n) + 0.5) / n], 1))
    albedo = points.look(scene).numpy()[:, slots.ALBEDO]
    assert (np.abs(albedo - 0.8) < 1e-6).sum() == 300
    assert albedo.mean() == pytest.approx(0.3 * 0.8 + 0.7 * 0.2, rel=1e-6)
    weights = np.zeros((n, WIDTH))
    weights[:, SLOPE] = albedo / n
    (slope,) = tape_gradients(lambda: weighted(points.look(scene), weights), [scene.parameters()["mixed.weight"]])
    assert slope == pytest.approx(0.8 - 0.2, rel=1e-4)


@pytest.mark.row(114)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_normal_map_bends_along_growing_u_and_v(f64, mirrored):
    """On a square in the xy plane with u along x, or against it where mirrored, and v along y."""
    along = -1.0 if mirrored else 1.0
    tangent, side = tangent_of([1, 0, 0], [0, 1, 0], [along, 0], [0, 1])
    assert side == along
    np.testing.assert_allclose(tangent / np.linalg.norm(tangent), [along, 0, 0])
    half, up = np.sqrt(0.5), [0, 0, 1]
    told = {(0.5, 0.5, 1): up, (1, 0.5, 1): [along * half, 0, half], (0.5, 1, 1): [0, half, half]}
    told[(0.5, 0.9, 0)] = [0, 1, 0]  # what points inward is bent no further than along the surface
    told[(0.5, 0.5, 0)] = up
    for texel, expected in told.items():
        bump = Texture(np.array([[texel]]))
        scene, points = lit(("a", tidr.Material("lambert", normal=bump))), Points([1], 0)
        points.normals.set([up])
        points.tangents.set([tangent])
        points.side = side
        np.testing.assert_allclose(points.look(scene).numpy()[0, NORMAL:], expected, atol=1e-12)


@large
@ti.kernel
def tangents(edges: A2, out: A2):
    """edges [n, 10]: e1, e2, d1, d2; out [n, 14]: tangent, side, and the gradients to the edges of its sum."""
    for i in range(edges.shape[0]):
        e1, e2 = ti.Vector([edges[i, 0], edges[i, 1], edges[i, 2]]), ti.Vector([edges[i, 3], edges[i, 4], edges[i, 5]])
        d1, d2 = ti.Vector([edges[i, 6], edges[i, 7]]), ti.Vector([edges[i, 8], edges[i, 9]])
        tangent, side = normal_map.uv_tangent(e1, e2, d1, d2)
        to_e1, to_e2, to_d1, to_d2 = normal_map.uv_tangent_adjoint(e1, e2, d1, d2, ti.Vector([1.0, 2.0, 3.0]))
        out[i, 3] = side
        for k in ti.static(range(3)):
            out[i, k], out[i, 4 + k], out[i, 7 + k] = tangent[k], to_e1[k], to_e2[k]
        for k in ti.static(range(2)):
            out[i, 10 + k], out[i, 12 + k] = to_d1[k], to_d2[k]


def tangents_of(edges: np.ndarray) -> np.ndarray:
    given, out = Array.of(edges), Array((len(edges), 14))
    tangents(given.value, out.value)
    return out.numpy()


def tangent_of(*edges) -> tuple[np.ndarray, float]:
    row = tangents_of(np.concatenate([np.asarray(edge, float) for edge in edges])[None])[0]
    return row[:3], row[3]


def test_gradient_of_the_tangent_equals_differences(f64):
    edges, step = np.random.default_rng(0).normal(size=(20, 10)), 1e-6
    gradients = tangents_of(edges)[:, 4:]
    for k in range(10):
        moved = step * np.eye(10)[k]
        slopes = (tangents_of(edges + moved) - tangents_of(edges - moved))[:, :3] @ [1, 2, 3] / (2 * step)
        np.testing.assert_allclose(gradients[:, k], slopes, atol=1e-7)
    assert not tangents_of(np.array([[1.0, 0, 0, 0, 1, 0, 1, 2, 2, 4]])).any()  # no area in uv, no frame
