"""The hybrid renderer in numpy: every ray against every triangle, every Gaussian and a volume marched in fine steps.

No tiles, no strata cut by what stands in them, no rasterizer: triangles are met by rays, volumes have the transmittance
of finer midpoints, and light is marched to from every one of them. Lambert materials, one medium at most.
"""

import numpy as np

from tidr.scene.gaussians import Gaussians
from tidr.scene.light import AmbientLight, DirectionalLight
from tidr.scene.mesh import Mesh
from tidr.scene.texture import Texture
from tidr.scene.volume import Volume

from .gaussian3d import splats_of
from .materials import bilinear
from .medium import Medium, inside


def camera_rays(camera, width: int, height: int):
    """Origin [3], unit directions [n, 3] and their cosines [n] to the viewing axis, pixels in scan order."""
    scale = np.array([width / camera.width, height / camera.height])
    focal, center = camera.focal.numpy() * scale, camera.principal_point.numpy() * scale
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = (column.ravel() - center[0]) / focal[0], (row.ravel() - center[1]) / focal[1]
    seen = np.stack([x, -y, -np.ones_like(x)], 1)
    length = np.linalg.norm(seen, axis=1)
    return camera.camera_to_world[:3, 3], seen @ camera.camera_to_world[:3, :3].T / length[:, None], 1 / length


def meet(origin, directions, corners):
    """Distance [n] (infinite where none), triangle [n] and its barycentrics [n, 3]; corners [F, 3, 3]."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    from_corner = origin - corners[:, 0]
    turned = np.cross(from_corner, first)
    best, face, bary = np.full(len(directions), np.inf), np.zeros(len(directions), int), np.zeros((len(directions), 3))
    for n, d in enumerate(directions):
        across = np.cross(d, second)
        volume = (first * across).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = (from_corner * across).sum(1) / volume, turned @ d / volume
            t = (second * turned).sum(1) / volume
        t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
        face[n] = t.argmin()
        best[n] = t[face[n]]
        bary[n] = [1 - u[face[n]] - v[face[n]], u[face[n]], v[face[n]]]
    return best, face, bary


def shaded(scene, node, world, faces, bary, directions):
    """[n, 3] radiance of points of one mesh."""
    mesh = node.geometry
    vertices = mesh.vertices.numpy().astype(np.float64) @ world[:3, :3].T + world[:3, 3]
    triangles = vertices[mesh.faces]
    per_face = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    if mesh.shading == "flat":
        normal = per_face[faces]
    else:
        smooth = np.zeros_like(vertices)
        np.add.at(smooth, mesh.faces.ravel(), np.repeat(per_face, 3, axis=0))
        normal = (smooth[mesh.faces[faces]] * bary[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal *= np.where((per_face[faces] * directions).sum(1, keepdims=True) > 0, -1, 1)
    albedo = scene.materials[node.materials[0]].sources["albedo"]
    if isinstance(albedo, Texture):
        uvs = (mesh.uvs.numpy().astype(np.float64)[mesh.uv_faces[faces]] * bary[..., None]).sum(1)
        texels = albedo.texels.numpy().astype(np.float64)
        color = np.array([bilinear(texels, albedo.wrap, uv) for uv in uvs]).reshape(-1, 3)
    else:
        color = np.broadcast_to(albedo.numpy(), (len(faces), 3))
    light = np.zeros((len(faces), 3))
    for one in scene.lights.values():
        if isinstance(one, AmbientLight):
            light += one.radiance.numpy()
        elif isinstance(one, DirectionalLight):
            way = one.direction.numpy().astype(np.float64)
            cosine = np.maximum(-normal @ way / np.linalg.norm(way), 0)
            light += cosine[:, None] / np.pi * one.irradiance.numpy()
    return color * light


def meshes(scene, origin, directions):
    """[n, 3] radiance and [n] distance (infinite where none) of the nearest surface along every ray."""
    color, distance = np.zeros_like(directions), np.full(len(directions), np.inf)
    worlds = scene.world_matrices()
    for node in scene.nodes.values():
        if isinstance(node.geometry, Mesh):
            world = worlds[node.name]
            vertices = node.geometry.vertices.numpy().astype(np.float64) @ world[:3, :3].T + world[:3, 3]
            t, face, bary = meet(origin, directions, vertices[node.geometry.faces])
            nearer = t < distance
            color[nearer] = shaded(scene, node, world, face[nearer], bary[nearer], directions[nearer])
            distance[nearer] = t[nearer]
    return color, distance


def medium_of(scene) -> Medium | None:
    """The scene's one volume, if it has one."""
    for node in scene.nodes.values():
        volume = node.geometry
        if isinstance(volume, Volume):
            grids = [None if one is None else one.numpy().astype(np.float64) for one in (volume.albedo, volume.color)]
            return Medium(
                volume.density.numpy().astype(np.float64)[..., None],
                np.zeros(3) if grids[0] is None else grids[0], grids[1],
                0.0 if volume.g is None else float(volume.g.numpy()), volume.lower, volume.upper,
                scene.world_matrices()[node.name], list(scene.lights.values()),
            )  # fmt: skip
    return None


def samples(medium: Medium, origin, directions, steps: int, light_steps: int):
    """Distances [n, K] of midpoints, optical depth [n, K] of their steps, radiance [n, K, 3]; nothing where missed."""
    to_object = np.linalg.inv(medium.to_world)
    o, d = to_object[:3, :3] @ origin + to_object[:3, 3], directions @ to_object[:3, :3].T
    first, last = inside(o, d, medium.lower, medium.upper)
    length = np.where(last > first, last - first, 0.0) / steps
    first = np.where(last > first, first, 0.0)
    t = first[:, None] + (np.arange(steps) + 0.5) * length[:, None]
    points = o + t[..., None] * d[:, None]
    tau = medium.extinction(points) * length[:, None]
    radiance = np.zeros((*t.shape, 3))
    seen = tau > 0
    ways = np.broadcast_to(directions[:, None], points.shape)[seen]
    radiance[seen] = medium.property(medium.albedo, points[seen]) * medium.scattered(points[seen], ways, light_steps)
    if medium.color is not None:
        radiance[seen] += medium.property(medium.color, points[seen])
    return t, tau, radiance


def splats(scene, camera, width: int, height: int, settings):
    """Depths [m], colours [m, 3] and opacities [n, m] at all pixels, near to far."""
    worlds, found = scene.world_matrices(), []
    for node in scene.nodes.values():
        if isinstance(node.geometry, Gaussians):
            found += splats_of(node.geometry, worlds[node.name], camera, width, height, settings)
    found.sort(key=lambda splat: splat["depth"])
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels, opacities = np.stack([column.ravel(), row.ravel()], 1), np.zeros((width * height, len(found)))
    for k, splat in enumerate(found):
        away = pixels - splat["mean"]
        square = np.einsum("ni,ij,nj->n", away, splat["conic"], away)
        opacity = splat["opacity"] * np.exp(-0.5 * square)
        counts = (opacity >= settings.alpha_skip) & (square <= settings.sigmas**2)
        opacities[:, k] = np.where(counts, np.minimum(opacity, settings.alpha_max), 0)
    return np.array([s["depth"] for s in found]), np.array([s["color"] for s in found]).reshape(-1, 3), opacities


def render(scene, camera, width: int, height: int, settings, steps: int, light_steps: int) -> dict[str, np.ndarray]:
    """{"rgb", "alpha", "depth"}: [H, W, C]."""
    origin, directions, cosines = camera_rays(camera, width, height)
    behind, wall = meshes(scene, origin, directions)
    depths, colors, opacities = splats(scene, camera, width, height, settings)
    at = depths / cosines[:, None]
    opacities = np.where(at < wall[:, None], opacities, 0)
    clear = np.cumprod(np.concatenate([np.ones((len(wall), 1)), 1 - opacities], 1), 1)  # before splat k; all at the end
    t, tau, radiance = np.zeros((len(wall), 1)), np.zeros((len(wall), 1)), np.zeros((len(wall), 1, 3))
    medium = medium_of(scene)
    if medium is not None:
        t, tau, radiance = samples(medium, origin, directions, steps, light_steps)
    tau = np.where(t < wall[:, None], tau, 0)
    passed = np.concatenate([np.zeros((len(wall), 1)), np.cumsum(tau, 1)], 1)
    total, far = np.zeros((len(wall), 3)), np.zeros(len(wall))
    for n in range(len(wall)):
        before = clear[n, np.searchsorted(at[n], t[n])] * np.exp(-passed[n, :-1])
        weights = before * (1 - np.exp(-tau[n]))
        haze = np.exp(-passed[n, np.searchsorted(t[n], at[n])])
        shares = clear[n, :-1] * opacities[n] * haze
        total[n] = weights @ radiance[n] + shares @ colors
        far[n] = weights @ t[n] + shares @ at[n]
    left = clear[:, -1] * np.exp(-passed[:, -1])
    hit = np.isfinite(wall)
    total += np.where(hit, left, 0)[:, None] * behind
    far += np.where(hit, left * np.where(hit, wall, 0), 0)
    left = np.where(hit, 0, left)
    total += left[:, None] * np.array(scene.film.background or (0, 0, 0))
    alpha = 1 - left
    depth = np.where(alpha > 1e-6, far / np.maximum(alpha, 1e-30), 0) * cosines
    shape = (height, width, -1)
    return {"rgb": total.reshape(shape), "alpha": alpha.reshape(shape), "depth": depth.reshape(shape)}
