"""Lens distortion on the host, in f64: from where a pinhole camera sees a point to where a lens shows it, and back.

Points are (x, y) = (X, Y) / Z of a camera that looks along Z with x to the right and y down, before focal length and
principal point. With r^2 = x^2 + y^2 and the coefficients k1, k2, p1, p2, k3, k4, k5, k6 (OpenCV's order) it shows

    (x, y) (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6)
        + (2 p1 x y + p2 (r^2 + 2 x^2),  p1 (r^2 + 2 y^2) + 2 p2 x y)

Brown 1966, "Decentering distortion of lenses", with the rational factor of later calibrations; k1 alone is quadratic
distortion. The map folds where its Jacobian's determinant falls to 0 (for k1 < 0 alone at r^2 = -1 / (3 k1)): pictures
end there. kernels/lens.py is the same on the device.
"""

import numpy as np

COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
NEWTON_STEPS, HALVINGS = 30, 8
FOLD = 1e-6  # the determinant at which the map counts as folded


def distort(points: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the lens shows points [..., 2], and the Jacobians [..., 2, 2], which are symmetric."""
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    x, y = points[..., 0], points[..., 1]
    s = x * x + y * y
    bottom = 1 + s * (k4 + s * (k5 + s * k6))
    factor = (1 + s * (k1 + s * (k2 + s * k3))) / bottom
    slope = (k1 + s * (2 * k2 + 3 * s * k3) - factor * (k4 + s * (2 * k5 + 3 * s * k6))) / bottom
    shown = [x * factor + 2 * p1 * x * y + p2 * (s + 2 * x * x), y * factor + p1 * (s + 2 * y * y) + 2 * p2 * x * y]
    mixed = 2 * (x * y * slope + p1 * x + p2 * y)
    first = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    last = factor + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    return np.stack(shown, -1), np.stack([np.stack([first, mixed], -1), np.stack([mixed, last], -1)], -2)


def undistort(points: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points [..., 2] that the lens shows at `points`, by Newton's method to 1e-8 or better, and which are real.

    Returns:
        points [..., 2], and inside [...]: False where the lens shows nothing, since the map folds before it gets there;
        such a point is where the search ended.
    """
    goal = np.asarray(points, np.float64)
    found = goal.copy()
    for _ in range(HALVINGS):
        found[~_is_open(distort(found, coefficients)[1])] /= 2
    inside = np.ones(goal.shape[:-1], bool)
    for _ in range(NEWTON_STEPS):
        shown, jacobian = distort(found, coefficients)
        inside &= _is_open(jacobian)
        safe = np.where(inside[..., None, None], jacobian, np.eye(2))
        step = np.linalg.solve(safe, (shown - goal)[..., None])[..., 0]
        ahead = found - np.where(inside[..., None], step, 0)
        inside &= _is_open(distort(ahead, coefficients)[1])
        found = np.where(inside[..., None], ahead, found)
    return found, inside & (np.abs(distort(found, coefficients)[0] - goal).max(-1) < 1e-8)


def _is_open(jacobian: np.ndarray) -> np.ndarray:
    """Where neither direction is turned over."""
    determinant = jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] ** 2
    return (determinant > FOLD) & (jacobian[..., 0, 0] > 0)
