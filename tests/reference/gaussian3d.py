"""Numpy twin of the splat "gaussian3d": one pixel and one Gaussian at a time, in camera space, as the formulas say."""

import numpy as np

C0, C1 = 0.28209479177387814, 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154, -0.4570457994644658,
    1.445305721320277, -0.5900435899266435,
)  # fmt: skip


def rotation(q):
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def basis(d):
    x, y, z = d / np.linalg.norm(d)
    return np.array(
        [
            C0, -C1 * y, C1 * z, -C1 * x,
            C2[0] * x * y, C2[1] * y * z, C2[2] * (2 * z * z - x * x - y * y), C2[3] * x * z, C2[4] * (x * x - y * y),
            C3[0] * y * (3 * x * x - y * y), C3[1] * x * y * z, C3[2] * y * (4 * z * z - x * x - y * y),
            C3[3] * z * (2 * z * z - 3 * x * x - 3 * y * y), C3[4] * x * (4 * z * z - x * x - y * y),
            C3[5] * z * (x * x - y * y), C3[6] * x * (x * x - 3 * y * y),
        ]
    )  # fmt: skip


def splats_of(gaussians, world, camera, width, height, settings):
    """Every Gaussian that is drawn: dict(depth, mean, conic, opacity, color, normal)."""
    to_camera = np.diag([1, -1, -1, 1]) @ np.linalg.inv(camera.camera_to_world)  # x right, y down, z ahead
    view = to_camera @ world
    fx, fy = camera.focal.numpy() * (width / camera.width, height / camera.height)
    cx, cy = camera.principal_point.numpy() * (width / camera.width, height / camera.height)
    eye = np.linalg.inv(view)[:3, 3]
    backward = np.linalg.inv(view)[:3, :3] @ [0, 0, -1.0]
    found = []
    values = {name: parameter.numpy().astype(np.float64) for name, parameter in gaussians.parameters().items()}
    for n in range(gaussians.count):
        mean, turned = values["means"][n], rotation(values["rotations"][n])
        t = view[:3, :3] @ mean + view[:3, 3]
        if not camera.near < t[2] < camera.far:
            continue
        axes = view[:3, :3] @ turned @ np.diag(np.exp(values["log_scales"][n]))
        if camera.kind == "perspective":
            center = np.array([fx * t[0] / t[2] + cx, fy * t[1] / t[2] + cy])
            x = np.clip(t[0], (-0.15 * width - cx) / fx * t[2], (1.15 * width - cx) / fx * t[2])
            y = np.clip(t[1], (-0.15 * height - cy) / fy * t[2], (1.15 * height - cy) / fy * t[2])
            slopes = np.array([[fx / t[2], 0, -fx * x / t[2] ** 2], [0, fy / t[2], -fy * y / t[2] ** 2]])
        else:
            center = np.array([fx * t[0] + cx, fy * t[1] + cy])
            slopes = np.array([[fx, 0, 0], [0, fy, 0]])
        bare = slopes @ axes @ axes.T @ slopes.T
        covariance = bare + settings.dilation * np.eye(2)
        opacity = 1 / (1 + np.exp(-values["opacity_logits"][n, 0]))
        if settings.antialiased:
            opacity *= np.sqrt(max(np.linalg.det(bare), 0) / np.linalg.det(covariance))
        away = mean - eye if camera.kind == "perspective" else -backward
        terms = (gaussians.active_degree + 1) ** 2
        rest = values.get("sh_rest", np.zeros((gaussians.count, 0, 3)))[n]
        coefficients = np.concatenate([values["sh_dc"][n][None], rest])[:terms]
        normal = turned[:, values["log_scales"][n].argmin()]
        normal = np.linalg.inv(world[:3, :3]).T @ (normal if normal @ away <= 0 else -normal)
        found.append(
            {
                "depth": t[2], "mean": center, "conic": np.linalg.inv(covariance), "opacity": opacity,
                "color": np.maximum(basis(away)[:terms] @ coefficients + 0.5, 0),
                "normal": normal / np.linalg.norm(normal),
            }
        )  # fmt: skip
    return found


def render(scene, camera, width, height, settings):
    """{channel: [H, W, C]} of all Gaussians of a scene."""
    worlds = scene.world_matrices()
    splats = []
    for node in scene.nodes.values():
        if node.geometry is not None:
            splats += splats_of(node.geometry, worlds[node.name], camera, width, height, settings)
    splats.sort(key=lambda splat: splat["depth"])
    sums = np.zeros((height, width, 7))
    through = np.ones((height, width))
    for row in range(height):
        for column in range(width):
            for splat in splats:
                d = np.array([column + 0.5, row + 0.5]) - splat["mean"]
                distance = d @ splat["conic"] @ d
                alpha = splat["opacity"] * np.exp(-0.5 * distance)
                if alpha < settings.alpha_skip or distance > settings.sigmas**2:
                    continue
                alpha = min(alpha, settings.alpha_max)
                if through[row, column] * (1 - alpha) < settings.transmittance_stop:
                    break
                weight = through[row, column] * alpha
                sums[row, column] += weight * np.concatenate([splat["color"], [splat["depth"]], splat["normal"]])
                through[row, column] *= 1 - alpha
    alpha = 1 - through[..., None]
    length = np.linalg.norm(sums[..., 4:], axis=-1, keepdims=True)
    background = np.zeros(3) if scene.film.background is None else np.array(scene.film.background)
    return {
        "rgb": sums[..., :3] + (1 - alpha) * background,
        "alpha": alpha,
        "depth": np.where(alpha > 1e-6, sums[..., 3:4] / np.maximum(alpha, 1e-30), 0),
        "normal": np.where(length > 0, sums[..., 4:] / np.maximum(length, 1e-30), 0),
    }
