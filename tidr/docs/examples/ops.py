"""Four operations instead of a scene: a cube's corners and its picture, found from one picture of it.

Colour comes from a texture at uv = a projection of the corner; silhouettes move by `antialias`."""

import numpy as np

import tidr

corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.6
quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
triangles = np.array([[q[0], q[k], q[k + 1]] for q in quads for k in (1, 2)])
turn, far = np.array([[0.8, 0, 0.6], [0.3, 0.87, -0.4], [-0.52, 0.5, 0.69]]), 4.0
x, y, z = (corners @ turn.T).T
clip = np.stack([2 * x, 2 * y, far - z - 2, far - z], axis=1)  # OpenGL's clip space
uvs = corners[:, :2] * 0.4 + corners[:, 2:] * 0.2 + 0.5


def picture(positions, texels):
    rast, slopes = tidr.ops.rasterize(positions, triangles, (48, 48))
    uv, uv_slopes = tidr.ops.interpolate(uvs, rast, triangles, slopes, "all")
    color = tidr.ops.texture(texels, uv, uv_slopes, boundary_mode="clamp")
    return tidr.ops.antialias(color, rast, positions, triangles)


target = picture(clip, np.random.default_rng(1).random((8, 8, 3))).numpy()
positions = tidr.Parameter(clip + np.random.default_rng(2).normal(0, 0.1, (8, 1)) * [1, 1, 0, 0])
texels = tidr.Parameter(np.full((8, 8, 3), 0.5), tidr.Constraint(clamp=(0, 1)))
optimizers = [tidr.Adam([positions], lr=0.005), tidr.Adam([texels], lr=0.05)]
losses = []
for _ in range(60):
    with tidr.Tape() as tape:
        tape.add(tidr.losses.mse(picture(positions, texels), target))
    losses.append(tape.loss)
    for optimizer in optimizers:
        optimizer.step()
