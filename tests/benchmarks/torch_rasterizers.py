"""One step of SoftRas or the neural mesh renderer in plain PyTorch: torch_rasterizers.py SCENE.npz soft|nmr.

What the CUDA kernels of the public versions do (Liu et al. 2019; Kato et al. 2018), vectorised on the CPU, but spared
the look at every face in every pixel. mesh.py writes SCENE: its view [3, 4] takes a world point to (x * depth,
y * depth, depth), x and y in NDC, y up.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch

SIGMA, GAMMA, NEAR, FAR, BEHIND, CUTOFF, CLOSEST = 1e-5, 1e-4, 1.0, 100.0, 1e-3, 9.21034, 1e-3


def spread(counts):
    """The owner of each of sum(counts) items, and its number among the owner's."""
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return owner, torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]


def pairs(points, faces, margin: float, size: int):
    """Faces and pixels [P] whose centres are in widened boxes; corners about them [P, 3, 2], barycentrics."""
    corners = points.detach()[faces]
    low = (corners.amin(1) - margin - 0.5).ceil().clamp(min=0).long()
    high = (corners.amax(1) + margin - 0.5).floor().clamp(max=size - 1).long()
    extent = (high - low + 1).clamp(min=0)
    face, place = spread(extent.prod(1))
    place = low[face] + torch.stack([place % extent[face, 0], place // extent[face, 0]], 1)
    p = points[faces[face]] - place[:, None] - 0.5
    a, b = p[:, [1, 2, 0]], p[:, [2, 0, 1]]
    area = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return face, place[:, 1] * size + place[:, 0], p, area / area.sum(1, keepdim=True)


def soft(points, depth, faces, colors, size: int):
    """rgb [N, 3], a softmax in depth, and alpha [N], the product of what every face leaves of the rest."""
    to_ndc = (2 / size) ** 2
    face, pixel, p, bary = pairs(points, faces, (CUTOFF * SIGMA / to_ndc) ** 0.5, size)
    way = p[:, [1, 2, 0]] - p
    t = (-(p * way).sum(2) / (way * way).sum(2)).clamp(0, 1)
    squared = ((p + t[..., None] * way) ** 2).sum(2).amin(1) * to_ndc
    inside = (bary >= 0).all(1)
    kept = inside | (squared < CUTOFF * SIGMA)
    pixel, corner, bary = pixel[kept], faces[face[kept]], bary[kept].clamp(0, 1)
    bary = bary / bary.sum(1, keepdim=True)
    nearness = (FAR - 1 / (bary / depth[corner]).sum(1)) / (FAR - NEAR)
    part = torch.sigmoid(torch.where(inside, squared, -squared)[kept] / SIGMA)
    left = torch.zeros(size * size).index_add(0, pixel, torch.log1p(-part.clamp(max=1 - 1e-6)))
    most = torch.full((size * size,), BEHIND).scatter_reduce(0, pixel, nearness.detach(), "amax")
    weight = part * ((nearness - most[pixel]) / GAMMA).exp()
    total = ((BEHIND - most) / GAMMA).exp().index_add(0, pixel, weight)
    shown = (weight / total[pixel])[:, None] * (bary[..., None] * colors[corner]).sum(1)
    return torch.zeros(size * size, 3).index_add(0, pixel, shown), 1 - left.exp()


def nearest(points, depth, faces, colors, size: int):
    """Nearest faces [S, S], or -1, rgb [S, S, 3], with gradients to colours alone, and alpha [S, S, 1]."""
    face, pixel, _, bary = pairs(points.detach(), faces, 0.0, size)
    within = (bary >= 0).all(1)
    bary = bary[within] / depth.detach()[faces[face[within]]]
    order = (-bary.sum(1)).argsort()
    face, pixel, bary = face[within][order], pixel[within][order], (bary / bary.sum(1, keepdim=True))[order]
    best = torch.full((size * size,), len(face)).scatter_reduce(0, pixel, torch.arange(len(face)), "amin")
    hit = best[best < len(face)]
    ids = torch.full((size * size,), -1).index_put((pixel[hit],), face[hit]).view(size, size)
    shown = (bary[hit][..., None] * colors[faces[face[hit]]]).sum(1)
    rgb = torch.zeros(size * size, 3).index_put((pixel[hit],), shown).view(size, size, 3)
    return ids, rgb, (ids >= 0).float()[..., None]


def sweep(points, faces, ids, picture, slopes):
    """dL/d(NDC of points) [V, 2]: every edge seen, drawn along rows and columns to all samples that would gain."""
    size, pull, corners = len(ids), torch.zeros_like(points), points[faces] - 0.5
    reach = int((corners.amax(1) - corners.amin(1))[ids.unique()[1:]].max()) + 2
    for axis, k in np.ndindex(2, 3):  # axis: of what moves; pictures and points are turned so that it is the second
        seen, i, g = (a.transpose(0, 1).contiguous() if axis else a for a in (ids, picture, slopes))
        p0, p1, third = (corners[:, (k + n) % 3] if axis else corners[:, (k + n) % 3].flip(1) for n in range(3))
        slant = (p1 - p0)[:, 1] / (p1 - p0)[:, 0]
        out = torch.where(third[:, 1] < p0[:, 1] + slant * (third - p0)[:, 0], 1, -1)
        first = torch.minimum(p0, p1)[:, 0].ceil().clamp(min=0)
        last = torch.maximum(p0, p1)[:, 0].floor().clamp(max=size - 1)
        f, line = spread((last - first + 1).clamp(min=0).long())
        line, out, p0, p1 = line + first[f].long(), out[f], p0[f], p1[f]
        cross = p0[:, 1] + slant[f] * (line - p0[:, 0])
        inner = torch.where(out > 0, cross.floor(), cross.ceil()).long()
        fits = (inner.minimum(inner + out) >= 0) & (inner.maximum(inner + out) < size)
        visible = fits & (seen[line, inner.clamp(0, size - 1)] == f)
        for chosen, steps in ((visible, torch.arange(1, size)), (fits, -torch.arange(reach))):  # outside, inside
            for some in chosen.nonzero()[:, 0].split(2**22 // len(steps)):
                row, d = line[some, None], inner[some, None] + out[some, None] * steps
                at, ahead = d.clamp(0, size - 1), chosen is visible
                beside = i[line[some], inner[some] + (0 if ahead else out[some])]
                delta = ((i[row, at] - beside[:, None]) * g[row, at]).sum(2).clamp(min=0) * (d == at)
                delta = delta if ahead else delta * (seen[row, at] == f[some, None])
                for end, own, away in ((k, p0, p1), ((k + 1) % 3, p1, p0)):
                    ratio = (away - own)[some, 0] / (away[some, 0] - line[some]) * 2 / size
                    move = (d - cross[some, None]) * ratio[:, None]
                    move = move + torch.copysign(torch.tensor(CLOSEST), move)
                    pull[:, axis].index_add_(0, faces[f[some], end], -(delta / move).sum(1))
    return pull


def step(kind: str, vertices, faces, colors, view, size: int):
    """Loss of one picture against grey; its gradients to vertices and colours."""
    vertices.grad = colors.grad = None
    size *= 1 if kind == "soft" else 2
    x, y, depth = (vertices @ view[:, :3].T + view[:, 3]).unbind(1)
    points = torch.stack([1 + x / depth, 1 - y / depth], 1) * (size / 2)  # pixels, y down
    if kind == "soft":
        loss = torch.stack([((each - 0.5) ** 2).mean() for each in soft(points, depth, faces, colors, size)]).sum()
        loss.backward()
        return loss
    ids, *fine = nearest(points, depth, faces, colors, size)
    for each in fine:
        each.requires_grad_().retain_grad()
    means = [each.view(size // 2, 2, size // 2, 2, -1).mean((1, 3)) for each in fine]
    loss = torch.stack([((each - 0.5) ** 2).mean() for each in means]).sum()
    loss.backward()
    points.backward(sum(sweep(points.detach(), faces, ids, each.detach(), each.grad) for each in fine) * 2 / size)
    return loss


held, times, loss = np.load(sys.argv[1]), [], 0.0
vertices, colors, view = (torch.tensor(held[name], dtype=torch.float32) for name in ("vertices", "colors", "view"))
scene = (vertices.requires_grad_(), torch.tensor(held["faces"]).long(), colors.requires_grad_(), view)
for _ in range(4):
    wall, cpu = time.perf_counter(), time.process_time()
    loss = float(step(sys.argv[2], *scene, int(held["size"])))
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
ms, cpu_ms = (1e3 * statistics.median(each) for each in zip(*times[1:], strict=True))
print(json.dumps({"ms": ms, "cpu_ms": cpu_ms, "loss": loss, "gradient": float(vertices.grad.norm())}))
