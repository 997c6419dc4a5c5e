"""Numpy twin of the fields: encodings, networks and quadrature, written down straight from the papers' formulas."""

import itertools

import numpy as np

PRIMES = (1, 2654435761, 805459861)


def hash_encode(field, table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[n, levels * features] of points x [n, 3] in the unit cube; table [entries * features]."""
    rows = table.reshape(-1, field.features)
    out = []
    for first, side, cells, mask in field.levels:
        at = np.clip(x, 0, 1) * cells + 0.5
        low = np.floor(at).astype(np.int64)
        at = at - low
        total = np.zeros((len(x), field.features))
        for corner in itertools.product((0, 1), repeat=3):
            c = low + corner
            if mask:
                hashed = [(c[:, a] * PRIMES[a]) & 0xFFFFFFFF for a in range(3)]
                index = (hashed[0] ^ hashed[1] ^ hashed[2]) & mask
            else:
                index = c[:, 0] + side * (c[:, 1] + side * c[:, 2])
            share = np.prod(np.where(corner, at, 1 - at), axis=1)
            total += share[:, None] * rows[first + index]
        out.append(total)
    return np.concatenate(out, 1)


def frequency_encode(x: np.ndarray, octaves: int) -> np.ndarray:
    """[n, 3 + 6 octaves]: x, then sines and cosines of 2^k pi x."""
    parts = [x]
    for k in range(octaves):
        parts += [np.sin(2.0**k * np.pi * x), np.cos(2.0**k * np.pi * x)]
    return np.concatenate(parts, 1)


def harmonics(u: np.ndarray) -> np.ndarray:
    """[n, 16] real spherical harmonics of unit vectors."""
    x, y, z = u.T
    c1, c2, c3 = (
        np.sqrt(3 / np.pi) / 2,
        np.sqrt(15 / np.pi) / 2,
        np.sqrt(np.array([35 / 2, 105, 21 / 2, 7]) / np.pi) / 4,
    )
    return np.stack(
        [
            np.full_like(x, 0.5 / np.sqrt(np.pi)), -c1 * y, c1 * z, -c1 * x, c2 * x * y, -c2 * y * z,
            np.sqrt(5 / np.pi) / 4 * (3 * z * z - 1), -c2 * x * z, c2 / 2 * (x * x - y * y),
            -c3[0] * y * (3 * x * x - y * y), 2 * c3[1] * x * y * z, -c3[2] * y * (5 * z * z - 1),
            c3[3] * z * (5 * z * z - 3), -c3[2] * x * (5 * z * z - 1), c3[1] * z * (x * x - y * y),
            -c3[0] * x * (x * x - 3 * y * y),
        ],
        1,
    )  # fmt: skip


def evaluate(network, weights: np.ndarray, inputs: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Density's row [n] and colour [n, 3]; inputs: encoded columns by their first row."""
    n = len(next(iter(inputs.values())))
    rows = np.zeros((n, network.rows))
    for first, columns in inputs.items():
        rows[:, first : first + columns.shape[1]] = columns
    for source, count, target, outputs, place, bias, kind in network.layers:
        matrix = weights[place : place + outputs * count].reshape(outputs, count)
        y = rows[:, source : source + count] @ matrix.T + (weights[bias : bias + outputs] if bias >= 0 else 0)
        rows[:, target : target + outputs] = np.maximum(y, 0) if kind == 1 else 1 / (1 + np.exp(-y)) if kind == 2 else y
    return rows[:, network.density], rows[:, -3:]


def composite(sigma, color, times, widths) -> tuple[np.ndarray, np.ndarray]:
    """[6] rgb, alpha, distance, spread of one ray; and the weights of its samples."""
    keep = np.exp(-sigma * widths)
    before = np.concatenate([[1.0], np.cumprod(keep)[:-1]]) if len(keep) else keep
    w = before * (1 - keep)
    spread = 0.5 * w @ np.subtract.outer(times, times) ** 2 @ w
    return np.concatenate([w @ color, [w.sum(), w @ times, spread]]), w


def interval(o, d, lower, upper) -> tuple[float, float]:
    with np.errstate(divide="ignore"):
        one, two = (lower - o) / d, (upper - o) / d
    return max(np.minimum(one, two).max(), 0.0), np.maximum(one, two).min()


def render_hash(field, table, weights, origins, directions, steps: int) -> np.ndarray:
    """[n, 6] rgb, alpha, distance, spread of rays, as `hash_layer` without jitter, occupancy and early end."""
    out = np.zeros((len(origins), 6))
    step = np.linalg.norm(field.upper - field.lower) / steps
    for ray, (o, d) in enumerate(zip(origins, directions, strict=True)):
        t0, t1 = interval(o, d, field.lower, field.upper)
        gap = step / np.linalg.norm(d)
        t = (np.arange(np.ceil(t0 / gap - 0.5), np.ceil(t1 / gap - 0.5)) + 0.5) * gap
        if t1 <= t0 or len(t) == 0:
            continue
        x = (o + t[:, None] * d - field.lower) / (field.upper - field.lower)
        basis = np.repeat(harmonics(d[None] / np.linalg.norm(d)), len(t), 0)
        inputs = {0: hash_encode(field, table, x), field.network.directions: basis}
        raw, color = evaluate(field.network, weights, inputs)
        out[ray] = composite(np.exp(raw), color, t, np.full(len(t), gap))[0]
    return out


def render_frequency(field, coarse, fine, origins, directions, steps: int, places=None):
    """[n, 12] fine, then coarse, as `frequency_layer` without jitter; and where the samples lie, to hold them fixed."""
    out, found = np.zeros((len(origins), 12)), []
    for ray, (o, d) in enumerate(zip(origins, directions, strict=True)):
        t0, t1 = interval(o, d, field.lower, field.upper)
        found.append(None)
        if t1 <= t0:
            continue
        gap = (t1 - t0) / steps
        edges = t0 + gap * np.arange(steps + 1)
        t = edges[:-1] + 0.5 * gap if places is None else places[ray][0]
        widths = np.full(steps, gap) if places is None else places[ray][1]
        out[ray, 6:], w = composite(*_seen(field, coarse, o, d, t), t, widths)
        chance = np.concatenate([[0], np.cumsum(w + 1e-5)])
        u = (np.arange(field.fine_samples) + 0.5) / field.fine_samples * chance[-1]
        more = np.sort(np.concatenate([t, np.interp(u, chance, edges)])) if places is None else places[ray][2]
        last = t1 if places is None else places[ray][3]
        found[-1] = (t, widths, more, last)
        out[ray, :6], _ = composite(*_seen(field, fine, o, d, more), more, np.diff(more, append=last))
    return out, found


def _seen(field, weights, o, d, t) -> tuple[np.ndarray, np.ndarray]:
    x = 2 * (o + t[:, None] * d - field.lower) / (field.upper - field.lower) - 1
    u = np.repeat(d[None] / np.linalg.norm(d), len(t), 0)
    network = field.network
    inputs = {
        network.encoded[0]: frequency_encode(x, field.octaves),
        network.directions: frequency_encode(u, field.direction_octaves),
    }
    raw, color = evaluate(network, weights, inputs)
    return np.log1p(np.exp(raw - 1)), color
