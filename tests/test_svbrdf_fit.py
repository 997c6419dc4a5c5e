"""Materials that vary over a surface, from flash pictures: exact gradients, a fit, and the rendered against a map loss.

Li, Dong, Peers and Tong 2017, "Modeling Surface Appearance from a Single Photograph using Self-augmented Convolutional
Neural Networks"; Deschaintre et al. 2018, "Single-Image SVBRDF Capture with a Rendering-Aware Deep Network".
"""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.problems.figures import lone, quad
from tidr.scenes.make_svbrdf import original

from .gradients import tape_gradients, weighted

TEXELS, PIXELS, STEPS, LR = 64, 96, 80, 3e-2
DRAWER = tidr.Rasterizer(edges="none", channels=("rgb",))
SLOTS = ("albedo", "roughness", "metallic", "normal")
GREY = {"albedo": 0.5, "roughness": 0.5, "metallic": 0.5, "normal": (0.5, 0.5, 1.0)}
Maps = dict[str, np.ndarray]


def waves(rng, size: int, channels: int, least: float, most: float) -> np.ndarray:
    """[size, size, channels] smooth patterns from -1 to 1, `least` to `most` waves a side."""
    across, down = (np.arange(size) + 0.5) / size, (np.arange(size)[:, None] + 0.5) / size
    total = np.zeros((size, size, channels))
    for c in range(channels):
        for rate in np.geomspace(least, most, 6):
            turn, phase = rng.uniform(0, 2 * np.pi, 2)
            total[..., c] += np.sin(2 * np.pi * rate * (np.cos(turn) * across + np.sin(turn) * down) + phase)
    return np.tanh(total / 2)


def made_up(size: int, most: float = 5.0) -> Maps:
    """Maps of paint and bare metal, with bumps."""
    rng = np.random.default_rng(8)
    slopes = 0.25 * waves(rng, size, 2, 1.0, most)
    normal = np.concatenate([slopes, np.ones((size, size, 1))], 2)
    return {
        "albedo": 0.5 + 0.35 * waves(rng, size, 3, 0.7, most),
        "roughness": 0.5 + 0.2 * waves(rng, size, 1, 0.7, most),
        "metallic": 0.5 + 0.5 * waves(rng, size, 1, 0.7, 2.0),
        "normal": (normal / np.linalg.norm(normal, axis=2, keepdims=True) + 1) / 2,
    }


def sheet(maps: Maps) -> tidr.Material:
    return tidr.Material("metallic_roughness", **{slot: tidr.Texture(maps[slot], wrap="clamp") for slot in SLOTS})


def lookup(size: int, texels: int) -> np.ndarray:
    """[size, texels]: what each of `size` places along a side reads of a map of `texels`, bilinearly."""
    places = np.clip((np.arange(size) + 0.5) * texels / size - 0.5, 0, texels - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(texels)), 0)


def resized(texels: np.ndarray, size: int) -> np.ndarray:
    """A finer map that looks the same, or the coarser one that is nearest to it in the mean square."""
    fine = size > len(texels)
    matrix = lookup(size, len(texels)) if fine else np.linalg.pinv(lookup(len(texels), size))
    return np.clip(np.einsum("im,jn,mnc->ijc", matrix, matrix, texels), 0, 1)


def photographed(material: tidr.Material, places: np.ndarray, eyes: np.ndarray) -> list[tuple]:
    """(scene, camera) of pictures of a square with the material, a lamp at `places` [N, 3], seen from `eyes`."""
    shots = []
    for place, eye in zip(places, eyes, strict=True):
        scene = lone(quad(1.0), materials=("sheet",))
        scene.add_material("sheet", material)
        scene.add_light("flash", tidr.PointLight(place, 9.0))
        shots.append((scene, tidr.Camera.look_at(eye, (0, 0, 0), fov_y_degrees=45, width=PIXELS, height=PIXELS)))
    return shots


def above(count: int, seed: int) -> np.ndarray:
    """[count, 3] places in front of the square, the first in the middle, others up to 30 degrees aside."""
    rng = np.random.default_rng(seed)
    turn = 2.4 * np.arange(count) + rng.uniform(0, 6)
    slant = np.radians(30) * np.sqrt(np.arange(count) / max(count - 1, 1))
    ways = np.stack([np.sin(slant) * np.cos(turn), np.sin(slant) * np.sin(turn), np.cos(slant)], 1)
    return 2.6 * ways


def drawn(shots: Sequence[tuple]) -> list[np.ndarray]:
    return [tidr.render(scene, camera, DRAWER).rgb.numpy() for scene, camera in shots]


def fitted(truth: Maps, places: np.ndarray, eyes: np.ndarray, maps: Maps, steps: int) -> Maps:
    """Maps that begin as `maps`, by Adam, of pictures of the true maps: the loss sees pictures only."""
    targets = [tidr.Array.of(one, needs_grad=False) for one in drawn(photographed(sheet(truth), places, eyes))]
    material = sheet(maps)
    shots = photographed(material, places, eyes)
    optimizer = tidr.Adam(list(material.parameters().values()), lr=LR)
    for step in range(steps):
        optimizer.lr = LR * 0.1 ** (step / steps)
        with tidr.Tape() as tape:
            for (scene, camera), target in zip(shots, targets, strict=True):
                tape.add(tidr.losses.relative_l2(tidr.render(scene, camera, DRAWER), target), 1 / len(shots))
        optimizer.step()
    return {slot: material.sources[slot].texels.numpy().astype(np.float64) for slot in SLOTS}


def from_grey(truth: Maps, places: np.ndarray, eyes: np.ndarray) -> Maps:
    """Coarse to fine: from one grey, over maps of few texels."""
    maps = {slot: np.broadcast_to(GREY[slot], (8, 8, truth[slot].shape[2])) for slot in SLOTS}
    while True:
        maps = fitted(truth, places, eyes, maps, STEPS)
        if len(maps["albedo"]) == TEXELS:
            return maps
        maps = {slot: resized(one, 2 * len(one)) for slot, one in maps.items()}


def unseen(maps: Maps, truth: Maps) -> tuple[float, float]:
    """(PSNR in decibels of the range 0 to 1, relative L2) under lamps and from places that no fit has seen."""
    setting = above(6, 99)[1:], above(6, 7)[1:]
    found, right = (np.stack(drawn(photographed(sheet(one), *setting))) for one in (maps, truth))
    psnr = tidr.losses.psnr(np.clip(found, 0, 1), np.clip(right, 0, 1))
    return psnr, float(np.mean((found - right) ** 2 / (right**2 + 0.01)))


def off(maps: Maps, truth: Maps) -> dict[str, float]:
    return {slot: float(np.sqrt(np.mean((maps[slot] - truth[slot]) ** 2))) for slot in SLOTS}


def flash(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of lamps and of eyes, the lamp beside the lens."""
    eyes = above(count, 0)
    return eyes + np.array([0.15, 0.1, 0.0]), eyes


def reflected(maps: Maps, light: np.ndarray) -> np.ndarray:
    """[H, W, 3] what the GGX model says of parallel light from `light`, seen from the front; of complex numbers too."""
    unit = lambda v: v / np.sqrt((v * v).sum(-1, keepdims=True))  # noqa: E731
    dot = lambda a, b: (a * b).sum(-1, keepdims=True)  # noqa: E731
    view, n = np.array([0.0, 0.0, 1.0]), unit(2 * maps["normal"] - 1)
    half, albedo, metallic, square = unit(light + view), maps["albedo"], maps["metallic"], maps["roughness"] ** 4
    to_light, to_view, spread = dot(n, light), dot(n, view), dot(n, half) ** 2 * (square - 1) + 1
    masked = to_light * np.sqrt(to_view**2 * (1 - square) + square) + to_view * np.sqrt(
        to_light**2 * (1 - square) + square
    )
    base = 0.04 + (albedo - 0.04) * metallic
    fresnel = base + (1 - base) * (1 - dot(view, half)) ** 5
    return to_light * (albedo * (1 - metallic) / np.pi + fresnel * square / (np.pi * spread**2) / (2 * masked))


@pytest.mark.row(198)
def test_a_square_that_fills_the_screen_has_the_models_own_values_and_gradients(f64):
    """A texel a pixel: values; gradients by complex steps of the formula and by the picture's differences."""
    maps, light = made_up(8, 2.0), np.array([0.48, 0.36, 0.8])
    material, scene = sheet(maps), lone(quad(1.0), materials=("sheet",))
    scene.add_material("sheet", material)
    scene.add_light("sun", tidr.DirectionalLight(-light, 1.0))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=2, width=8, height=8)
    rng = np.random.default_rng(0)
    weights, ways = rng.normal(size=(8, 8, 3)), {slot: rng.normal(size=maps[slot].shape) for slot in SLOTS}

    def drawn_at(step: float) -> np.ndarray:
        for slot in SLOTS:
            material.sources[slot].texels.set(maps[slot] + step * ways[slot])
        return tidr.render(scene, camera, DRAWER).rgb.numpy().reshape(8, 8, 3)

    assert drawn_at(0.0) == pytest.approx(reflected(maps, light), rel=1e-9)
    loss = lambda: weighted(tidr.render(scene, camera, DRAWER).rgb, weights)  # noqa: E731
    slopes = dict(zip(SLOTS, tape_gradients(loss, [material.sources[slot].texels for slot in SLOTS]), strict=True))
    for slot in SLOTS:
        for c in range(maps[slot].shape[2]):
            moved = maps[slot].astype(complex)
            moved[..., c] += 1e-30j
            exact = (weights * np.imag(reflected(maps | {slot: moved}, light))).sum(2) / 1e-30
            assert slopes[slot][..., c] == pytest.approx(exact, rel=1e-6, abs=1e-9), slot
    measured = (weights * (drawn_at(1e-5) - drawn_at(-1e-5))).sum() / 2e-5
    assert sum((slopes[slot] * ways[slot]).sum() for slot in SLOTS) == pytest.approx(measured, rel=1e-6)


@pytest.mark.long
@pytest.mark.row(186, 196)
def test_maps_from_flash_pictures(f32):
    """Each map is nearer to the true one with more pictures; of eight, unseen pictures agree to 30 dB."""
    truth, found = made_up(TEXELS), {}
    for count in (1, 3, 8):
        maps = from_grey(truth, *flash(count))
        found[count] = off(maps, truth), unseen(maps, truth)[0]
    assert sum(found[8][0].values()) < sum(found[3][0].values()) < sum(found[1][0].values())
    assert all(found[8][0][slot] < 0.6 * found[1][0][slot] for slot in SLOTS)
    assert found[8][1] > 30


@pytest.mark.long
@pytest.mark.row(28)
def test_roughness_and_metallic_maps_of_known_paint_and_bumps(f32):
    """Coarse to fine, else some texels end in another pair that looks alike; both maps and unseen pictures to 28 dB."""
    truth = made_up(16, 3.0)
    truth |= {"albedo": 0.3 + 0.6 * truth["albedo"], "metallic": 0.1 + 0.8 * truth["metallic"]}

    def lit(material: tidr.Material) -> list[tuple]:
        shots = photographed(material, 3 * above(6, 1), above(6, 0))
        for k, (scene, _) in enumerate(shots):
            for j, place in enumerate(0.6 * above(9, k + 1) * (2, 2, 1)):
                scene.add_light(f"lamp{j}", tidr.PointLight(place, 2.0))
        return shots

    targets = [tidr.Array.of(one, needs_grad=False) for one in drawn(lit(sheet(truth)))]
    found = {"roughness": np.full((1, 1, 1), 0.8), "metallic": np.full((1, 1, 1), 0.1)}
    assert unseen(truth | found, truth)[0] < 22
    for size in (1, 2, 4, 8, 16):
        material = sheet(truth | {slot: resized(one, size) if size > 1 else one for slot, one in found.items()})
        maps = {slot: material.parameters()[slot] for slot in found}
        pairs, steps = list(zip(lit(material), targets, strict=True)), 120 if size == 16 else 40
        optimizer = tidr.Adam(maps, lr=5e-2)
        for step in range(steps):
            optimizer.lr = 5e-2 * 0.02 ** (step / steps)
            with tidr.Tape(maps) as tape:
                for (scene, camera), target in pairs[step % 2 :: 2]:
                    tape.add(tidr.losses.relative_l2(tidr.render(scene, camera, DRAWER), target))
            optimizer.step()
        found = {slot: one.numpy().astype(np.float64) for slot, one in maps.items()}
    assert all(-20 * np.log10(wrong) >= 28 for slot, wrong in off(truth | found, truth).items() if slot in found)
    assert unseen(truth | found, truth)[0] >= 28


@pytest.mark.long
@pytest.mark.row(196)
def test_a_rendered_loss_chooses_maps_that_look_right_and_a_map_loss_maps_that_are_right(f32):
    """Maps of 12 texels a side cannot hold all of 64. The nearest maps, and those of the nearest pictures."""
    truth = made_up(TEXELS, 20.0)
    by_maps = {slot: resized(truth[slot], 12) for slot in SLOTS}
    by_looks = fitted(truth, above(16, 1), above(16, 2), by_maps, 60)
    wrong = [unseen(maps, truth)[1] for maps in (by_maps, by_looks)]
    far = [off({slot: resized(maps[slot], TEXELS) for slot in SLOTS}, truth) for maps in (by_maps, by_looks)]
    assert wrong[1] < 0.75 * wrong[0]
    assert all(far[1][slot] > far[0][slot] for slot in SLOTS)


@pytest.mark.long
@pytest.mark.row(186)
def test_the_bundled_photos_tell_four_maps(f32, tmp_path):
    """30 dB in photos that were kept out, and of lamps that stand where no camera does."""
    run = CliRunner().invoke(app, ["fit", "svbrdf", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["views_are"] == "kept out of the fit"
    assert len(metrics["views"]) == 3
    assert min(one["psnr"] for one in metrics["views"].values()) > 30
    view = tidr.Camera.look_at((0, 2.6, 0), (0, 0, 0), (0, 0, -1), fov_y_degrees=48, width=PIXELS, height=PIXELS)
    found, right = tidr.load(tmp_path / "run" / "scene.toml"), original()
    for place in ((1.2, 2.0, 0.4), (-0.9, 1.8, -0.9), (0.2, 2.2, 1.4)):
        pictures = []
        for scene in (found, right):
            scene.lights["flash"] = tidr.PointLight(place, 6.0)
            pictures.append(np.clip(tidr.render(scene, view, DRAWER).rgb.numpy(), 0, 1))
        assert tidr.losses.psnr(*pictures) > 30, place
