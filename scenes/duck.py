"""The duck: a rubber duck grown out of a ball, and the paint on it. Y up, looking along +Z."""

import numpy as np

from .modelling import (
    OctahedralGrid,
    blend,
    capsule,
    centred,
    ellipsoid,
    flow,
    length,
    turned,
)

START, TEXTURE_SIZE, MARGIN = 12, 512, 3 / 512  # MARGIN: UV units left free around the chart
HEAD, NECK = np.array([0.0, 0.86, 0.36]), np.array([0.0, 0.46, 0.3])
BEAK_START, BEAK_TIP = np.array([0.0, 0.8, 0.62]), np.array([0.0, 0.8, 0.88])
EYE = np.array([0.235, 0.985, 0.665])
SCARF_TILT = 0.16  # tangent of half the angle by which the scarf's plane leans forward

YELLOW, LEMON, AMBER, CREAM = (250, 200, 40), (255, 224, 92), (224, 148, 22), (255, 240, 186)
ORANGE, RUST, ROSE = (240, 112, 24), (150, 56, 14), (250, 150, 84)
BLACK, WHITE, BLUE, NAVY = (24, 22, 28), (252, 252, 250), (44, 98, 196), (22, 48, 122)


def beak_field(points: np.ndarray, grown: float = 1.0) -> np.ndarray:
    """About the distance to the bill alone, [N]: a round cone pressed to half its height, `grown` out of the head."""
    start = HEAD + (BEAK_START - HEAD) * grown
    tip = HEAD + (BEAK_TIP - HEAD) * grown
    pressed = np.array([1.0, 1.45, 1.0])
    return 0.75 * capsule((points - start) * pressed, (0, 0, 0), (tip - start) * pressed, 0.2, 0.13)


def wing_points(points: np.ndarray) -> np.ndarray:
    """Both sides folded onto one, in the frame of the wing: x outwards, y up, z forwards along the wing; [N, 3]."""
    folded = np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
    return turned(folded - [0.53, 0.06, -0.14], 0, -0.13)


def duck_field(points: np.ndarray, grown: float = 1.0) -> np.ndarray:
    """Distance field of the duck, [N]; `grown` 0 is the body alone, at 1 head, bill, tail and wings are out."""
    body = ellipsoid(points, (0, 0, -0.05), (0.62, 0.5, 0.82), 0.04)
    body = blend(body, ellipsoid(points, (0, 0.1, 0.28), (0.52, 0.46, 0.46)), 0.2)
    tail_tip = np.array([0, 0.2, -0.5]) + np.array([0, 0.36, -0.52]) * grown
    result = blend(body, capsule(points, (0, 0.1, -0.45), tail_tip, 0.34, 0.1), 0.22)

    inside = np.array([0, 0.1, 0.2])
    head, neck = inside + (HEAD - inside) * grown, inside + (NECK - inside) * grown
    result = blend(result, capsule(points, neck - [0, 0.2, 0], neck + (head - neck) * 0.5, 0.36, 0.26), 0.18)
    size = 0.3 + 0.1 * grown
    result = blend(result, ellipsoid(points, head, (size, size * 0.97, size * 1.02)), 0.1)
    if grown > 0.5:
        result = blend(result, beak_field(points, 2 * grown - 1), 0.06)
    wing = np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
    wing = ellipsoid(wing, (0.43 + 0.1 * grown, 0.06, -0.14), (0.17, 0.27, 0.46), 0.13)
    return blend(result, wing, 0.05)


def duck_density(points: np.ndarray) -> np.ndarray:
    """How many triangles per area are wanted, [N]: more on the bill and the tail's tip."""
    near_beak = np.maximum(1 - length((points - [0, 0.8, 1.0]) / [0.36, 0.3, 0.42]) ** 2, 0)
    near_head = np.maximum(1 - length((points - HEAD) / 0.6) ** 2, 0)
    near_tail = np.maximum(1 - length((points - [0, 0.56, -1.0]) / 0.35) ** 2, 0)
    return 1 + 6 * near_beak + 0.8 * near_head + 3 * near_tail


def duck_shape() -> tuple[OctahedralGrid, np.ndarray]:
    """Grow the duck coarsely, then refine; the grid and its vertices [V, 3] in the modelling frame."""
    grid = OctahedralGrid(START)
    leaning = grid.directions + np.array([0, 0.45, 0.6])  # more vertices on the side where head and bill will grow
    points = leaning / length(leaning)[:, None] * [0.62, 0.5, 0.82]
    for step in range(41):
        grown = step / 40
        points = flow(points, grid.faces, lambda p, g=grown: duck_field(p, g), duck_density, 12)
    points = flow(points, grid.faces, duck_field, duck_density, 60)
    grid, points = grid.refine(points)
    return grid, flow(points, grid.faces, duck_field, duck_density, 80)


class Canvas:
    """Colours [N, 3] at surface points [N, 3]; each stroke is laid over what is there."""

    def __init__(self, points: np.ndarray, colour):
        self.points, self.rgb = points, np.zeros((len(points), 3)) + np.asarray(colour, float)

    def lay(self, colour, cover: np.ndarray) -> None:
        """Cover with `colour` where `cover` [N] is 1, nothing where it is 0."""
        cover = np.clip(cover, 0, 1)[:, None]
        self.rgb += cover * (np.asarray(colour, float) - self.rgb)

    def dot(self, colour, centre, radius: float, soft: float = 0.008) -> None:
        """A ball of paint; `soft` is the width of its border."""
        self.lay(colour, (radius - length(self.points - np.asarray(centre, float))) / soft + 0.5)


def paint(points: np.ndarray, speckles: np.ndarray) -> np.ndarray:
    """Colours [N, 3] in sRGB 0-255 at surface points [N, 3] of the modelling frame; speckles: their centres [S, 3]."""
    y = points[:, 1]
    canvas = Canvas(points, YELLOW)
    canvas.lay(LEMON, (y - 0.55) / 0.5)
    canvas.lay(CREAM, (-0.12 - y) / 0.3)
    for index, centre in enumerate(speckles):
        canvas.dot(AMBER, centre, 0.014 + 0.006 * (index % 3))
    paint_feet(canvas)
    paint_tail(canvas)
    paint_wings(canvas)
    paint_scarf(canvas)
    for side in (-1, 1):
        mirror = [side, 1, 1]
        blush = length(points - np.array([0.31, 0.8, 0.57]) * mirror)
        canvas.lay(ROSE, 0.75 * np.clip(1.15 - blush / 0.1, 0, 1))
    bill = beak_field(points)
    canvas.lay(ORANGE, (0.015 - bill) / 0.008)
    lips = np.abs(y - 0.785) / 0.01
    canvas.lay(RUST, np.minimum((0.01 - bill) / 0.008, 1.5 - lips))
    for side in (-1, 1):
        mirror = [side, 1, 1]
        canvas.dot(RUST, np.array([0.05, 0.88, 0.84]) * mirror, 0.017)
        canvas.dot(WHITE, EYE * mirror, 0.108)
        canvas.dot(BLACK, (EYE - [0.012, 0.0, -0.012]) * mirror, 0.08)
        glint = EYE * mirror - [0.035, -0.04, 0] - HEAD
        canvas.dot(WHITE, HEAD + glint * (0.4 / length(glint)), 0.03)
    return canvas.rgb


def paint_feet(canvas: Canvas) -> None:
    """Two orange feet of a web and three toes each, seen from below."""
    x, y, z = canvas.points.T
    for side in (-1, 1):
        out = x * side - 0.2
        for toe, forward in ((-0.09, 0.36), (0, 0.4), (0.09, 0.36)):
            canvas.lay(ORANGE, (y < -0.2) * ((0.055 - np.sqrt((out - toe) ** 2 + (z - forward) ** 2)) / 0.008 + 0.5))
        web = np.sqrt((out / 0.145) ** 2 + ((z - 0.2) / 0.22) ** 2)
        canvas.lay(ORANGE, (y < -0.2) * ((1 - web) / 0.05 + 0.5))


def paint_tail(canvas: Canvas) -> None:
    """Three amber bands that get thinner towards the tail's tip."""
    along = 0.55 * (canvas.points[:, 1] - 0.2) - 0.83 * (canvas.points[:, 2] + 0.5)
    for place, width in ((0.4, 0.035), (0.5, 0.028), (0.59, 0.022)):
        canvas.lay(AMBER, (width / 2 - np.abs(along - place)) / 0.008 + 0.5)


def paint_wings(canvas: Canvas) -> None:
    """Rows of feathers on both wings, pale with amber rims, and a dark outline."""
    local = wing_points(canvas.points)
    inside = 1 - length(local / [0.3, 0.26, 0.44])
    on_wing = np.clip(inside / 0.03 + 0.5, 0, 1) * (local[:, 0] > -0.12)
    canvas.lay(AMBER, on_wing)
    pitch, spread = 0.1, 0.13
    row = np.floor((local[:, 2] + 0.55) / pitch)
    for ahead in (-1, 0, 1, 2):  # the rows in front lie over the rows behind
        place = row + ahead
        across = local[:, 1] / spread + 0.5 * (place % 2)
        across = (across - np.floor(across) - 0.5) * spread
        reach = local[:, 2] + 0.55 - place * pitch
        radius = length(np.stack([across, 0.55 * reach, 0 * across], 1))
        canvas.lay(AMBER, on_wing * ((0.077 - radius) / 0.008 + 0.5))
        canvas.lay(LEMON, on_wing * ((0.066 - radius) / 0.008 + 0.5))
    rim = 0.5 + (0.016 - np.abs(inside - 0.02)) / 0.02
    canvas.lay(RUST, rim * (local[:, 0] > -0.12))


def paint_scarf(canvas: Canvas) -> None:
    """A blue band about the neck with navy hems and white dots, leaning forward."""
    local = turned(canvas.points - NECK - [0, 0.08, 0], 0, -SCARF_TILT)
    height, radius = local[:, 1], length(local * [1, 0, 1])
    near = radius < 0.5
    canvas.lay(NAVY, near * ((0.095 - np.abs(height)) / 0.008 + 0.5))
    canvas.lay(BLUE, near * ((0.075 - np.abs(height)) / 0.008 + 0.5))
    spoke = np.array([[0.0, 0.0, 1.0]])
    for _ in range(14):
        spoke = turned(spoke, 1, 0.228243474)  # tan(180 / 14 degrees): fourteen turns make a circle
        along = local[:, 0] * spoke[0, 0] + local[:, 2] * spoke[0, 2]
        aside = local[:, 0] * spoke[0, 2] - local[:, 2] * spoke[0, 0]
        distance = length(np.stack([aside, height, 0 * height], 1))
        canvas.lay(WHITE, near * (along > 0) * ((0.034 - distance) / 0.008 + 0.5))


def duck_texture(grid: OctahedralGrid, points: np.ndarray) -> np.ndarray:
    """Paint every texel from its place on the surface; uint8 sRGB [H, W, 3], row 0 on top."""
    centres = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE
    u, v = np.meshgrid(centres, 1 - centres)
    surface = grid.surface(points, np.stack([u.ravel(), v.ravel()], 1), MARGIN)
    colours = np.concatenate([paint(part, duck_speckles(points)) for part in np.array_split(surface, 16)])
    return np.floor(np.clip(colours, 0, 255) + 0.5).astype(np.uint8).reshape(TEXTURE_SIZE, TEXTURE_SIZE, 3)


def duck_speckles(points: np.ndarray) -> np.ndarray:
    """Centres of the speckles, [S, 3]: every 17th vertex of the back and the flanks."""
    chosen = points[5::17]
    return chosen[(chosen[:, 1] < 0.55) & (chosen[:, 1] > -0.3) & (chosen[:, 2] < 0.35)]


def duck() -> tuple[OctahedralGrid, np.ndarray, np.ndarray]:
    """The duck's grid, its vertices [V, 3] (centred on the bounding box, radius 0.95) and its texture."""
    grid, points = duck_shape()
    return grid, centred(points, 0.95), duck_texture(grid, points)
