"""Times mesh rendering and fitting beside a rival's scripts, in one run on one machine.

    python tests/benchmarks/mesh.py [--rivals FOLDER --python PYTHON] [--only NAME] [--json OUT]

FOLDER holds w1_mesh_mitsuba.py, w1_mesh_pyrender.py, w1_mesh_pytorch3d.py and w2_fit_mitsuba.py; PYTHON is the
interpreter that has the rivals installed. Without them only tidr is timed. Each case runs in its own process: turns to
warm up, then the median of the timed ones. PYTHON also runs this folder's PyTorch ports, for "soft_port", "nmr_port".
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import run_cases

import tidr
from tidr.array import Array
from tidr.runtime import taichi

EYE, FOV_Y_DEGREES = np.array([1.2, 0.9, 2.6]), 40.0
TO_LIGHT = np.array([0.5, 0.8, 0.6]) / np.linalg.norm([0.5, 0.8, 0.6])
WARM_UP, REPETITIONS = 20, 45
LEARNING_RATE, VIEWS_PER_TURN = 0.3, 4


def bumpy_icosphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    """The rivals' mesh: an icosphere with waves, centred on its box, within the unit sphere."""
    vertices, faces = tidr.icosphere(level)
    x, y, z = vertices.T
    vertices = vertices * (1 + 0.12 * np.sin(7 * x) * np.sin(9 * y) * np.sin(8 * z))[:, None]
    vertices -= (vertices.max(0) + vertices.min(0)) / 2
    return vertices / np.linalg.norm(vertices, axis=1).max(), faces


def lambert_scene(level: int, size: int) -> tidr.Scene:
    vertices, faces = bumpy_icosphere(level)
    colors = 0.5 + 0.4 * np.sin(3 * vertices + np.array([0, 1, 2]))
    scene = tidr.Scene(tidr.Film(size, size))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices, faces, colors=colors), ("paint",)))
    scene.add_light("key", tidr.DirectionalLight(-TO_LIGHT, 0.8 * np.pi))
    scene.add_camera("front", tidr.Camera.look_at(EYE, (0, 0, 0), fov_y_degrees=FOV_Y_DEGREES, width=size, height=size))
    return scene


def median_ms(turn: Callable[[], None]) -> float:
    for _ in range(WARM_UP):
        turn()
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        turn()
        taichi().sync()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def mesh_times(level: int = 6, size: int = 512) -> dict[str, float]:
    """Forward alone, and forward + backward to vertices and vertex colours; loss mean((I - 0.5)^2)."""
    scene = lambert_scene(level, size)
    parameters = scene.parameters("ball.vertices", "ball.colors")
    target = Array.of(np.full((size, size, 3), 0.5), needs_grad=False)
    renderer = tidr.Rasterizer(edges="antialias", channels=("rgb",))

    def forward() -> None:
        tidr.render(scene, renderer=renderer)

    def both() -> None:
        with tidr.Tape(parameters) as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, renderer=renderer), target))

    return {"forward_ms": median_ms(forward), "forward_backward_ms": median_ms(both)}


def soft_times(level: int, size: int = 256) -> dict[str, float]:
    """Soft silhouette, 50 faces a pixel, forward + backward to vertices."""
    scene = lambert_scene(level, size)
    parameters = scene.parameters("ball.vertices")
    target = Array.of(np.full((size, size, 1), 0.5), needs_grad=False)
    renderer = tidr.Rasterizer(edges="soft", sigma=1e-4, channels=("alpha",), faces_per_pixel=50)

    def both() -> None:
        with tidr.Tape(parameters) as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, renderer=renderer).alpha, target))

    return {"forward_backward_ms": median_ms(both)}


def port_times(edges: str) -> dict[str, float]:
    """SoftRas or the neural mesh renderer, forward + backward to vertices and their colours.

    JRender's authors had 4.09 and 10.53 times the speed of the PyTorch versions, on one GPU.
    """
    scene = lambert_scene(4, 256)
    scene.lights = {"even": tidr.AmbientLight(1.0)}
    parameters = scene.parameters("ball.vertices", "ball.colors")
    grey = {"rgb": np.full((256, 256, 3), 0.5), "alpha": np.full((256, 256, 1), 0.5)}
    targets = {name: Array.of(value, needs_grad=False) for name, value in grey.items()}
    losses, cpu = [], []

    def both() -> None:
        cpu.append(time.process_time())
        with tidr.Tape(parameters) as tape:
            image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges))
            for name, target in targets.items():
                tape.add(tidr.losses.mse(image.channel(name), target))
        losses.append(tape.loss)

    found = {"ms": median_ms(both), "cpu_ms": statistics.median(np.diff(cpu[WARM_UP:])) * 1e3, "loss": losses[-1]}
    return found | {"gradient": float(np.linalg.norm(parameters["ball.vertices"].grad_numpy()))}


def compare_port(name: str, ours: dict[str, float], python: str) -> list[dict]:
    """The PyTorch port of a case, on the scene of `port_times`; its loss and gradient should be the same."""
    vertices, faces = bumpy_icosphere(4)
    back, focal = EYE / np.linalg.norm(EYE), 1 / np.tan(np.radians(FOV_Y_DEGREES) / 2)
    right = np.cross([0, 1, 0], back) / np.hypot(back[0], back[2])
    axes = np.stack([focal * right, focal * np.cross(back, right), -back])
    colors, view = 0.5 + 0.4 * np.sin(3 * vertices + np.array([0, 1, 2])), np.column_stack([axes, -axes @ EYE])
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/scene.npz", vertices=vertices, faces=faces, colors=colors, view=view, size=256)
        script = str(Path(__file__).with_name("torch_rasterizers.py"))
        command = [python, script, f"{folder}/scene.npz", name.removesuffix("_port")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  {name}: did not run\n{done.stderr[-2000:]}")
        return []
    theirs = json.loads(done.stdout)
    row = theirs | {f"ratio_{key}": theirs[key] / ours[key] for key in theirs}
    print("  PyTorch", {key: round(value, 3) for key, value in row.items()}, flush=True)
    return [{"case": name, "rival": "PyTorch", **row}]


def normalised(obj: Path) -> tuple[np.ndarray, np.ndarray]:
    """A model centred on its box, within the unit sphere."""
    from tidr.files.mesh import read_mesh

    data = read_mesh(obj)
    vertices = data.vertices - (data.vertices.max(0) + data.vertices.min(0)) / 2
    return vertices / np.linalg.norm(vertices, axis=1).max(), data.faces


def soft_phong_times(obj: Path, size: int = 256) -> dict[str, float]:
    """Softmax of 8 Phong-lit faces a pixel as PyTorch3D has it, forward + backward to vertices and vertex colours.

    PyTorch3D 0.7.9 took 2846 ms for this on two cores.
    """
    vertices, faces = normalised(obj)
    colors = 0.5 + 0.4 * np.sin(3 * vertices + np.array([0, 1, 2]))
    scene = tidr.Scene(tidr.Film(size, size))
    scene.add_node("model", tidr.Node(tidr.Mesh(vertices, faces, colors=colors), ("paint",)))
    look = {"ambient_color": 0.0, "diffuse_color": 0.8, "specular_color": 0.0}
    tidr.shaders.add_look(scene, "paint", "vertex_colors", direction=TO_LIGHT, **look)
    scene.add_camera("front", tidr.Camera.look_at(EYE, (0, 0, 0), fov_y_degrees=FOV_Y_DEGREES, width=size, height=size))
    parameters = scene.parameters("model.vertices", "model.colors")
    target = Array.of(np.full((size, size, 3), 0.5), needs_grad=False)
    renderer = tidr.shaders.soft_phong(blur_radius=1e-5, faces_per_pixel=8)

    def both() -> None:
        with tidr.Tape(parameters) as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, renderer=renderer), target))

    return {"forward_backward_ms": median_ms(both)}


def silhouette_fit(obj: Path, views: int = 20, size: int = 128, iterations: int = 120) -> dict[str, float]:
    """Sphere to model from the rival's silhouettes, by our recipe; seconds until the mean IoU passes a mark.

    Compilation counts (what drawing the targets compiles does not), checks of the IoU do not.
    """
    vertices, model_faces = normalised(obj)
    angles = np.radians(np.linspace(0, 360, views + 1)[:views])
    turns = np.radians(np.linspace(-180, 180, views + 1)[:views])
    cameras = []
    for elevation, azimuth in zip(angles, turns, strict=True):
        ring = np.cos(elevation)
        eye = 2.7 * np.array([ring * np.sin(azimuth), np.sin(elevation), ring * np.cos(azimuth)])
        up = (0, 1, 0) if abs(ring) > 1e-3 else (1, 0, 0)
        cameras.append(tidr.Camera.look_at(eye, (0, 0, 0), up, fov_y_degrees=60, width=size, height=size))
    hard = tidr.Rasterizer(edges="none", channels=("alpha",))
    model = tidr.Scene()
    model.add_node("model", tidr.Node(tidr.Mesh(vertices, model_faces)))
    fine = tidr.render(model, cameras, hard, 8 * size, 8 * size).alpha.numpy()
    soft = fine.reshape(views, size, 8, size, 8, 1).mean((2, 4))
    ball, faces = tidr.icosphere(4)
    scene = tidr.Scene()
    node = scene.add_node("ball", tidr.Node(tidr.Mesh(0.8 * ball, faces)))
    parameters = scene.parameters("ball.vertices")
    renderer = tidr.Rasterizer(edges="antialias", channels=("alpha",))
    batch = Array((VIEWS_PER_TURN, size, size, 1), needs_grad=False)
    spent, reached, iou = 0.0, {}, 0.0
    start = time.perf_counter()
    optimizer = tidr.LargeSteps(node, lr=LEARNING_RATE, lam=4.0)
    for turn in range(iterations):
        chosen = np.random.default_rng(turn).permutation(views)[:VIEWS_PER_TURN]
        batch.set(soft[chosen])
        optimizer.lr = LEARNING_RATE * 0.03 ** (turn / iterations)
        with tidr.Tape(parameters) as tape:
            image = tidr.render(scene, [cameras[index] for index in chosen], renderer)
            tape.add(tidr.losses.mse(image.alpha, batch))
        optimizer.step()
        spent += time.perf_counter() - start
        if (turn + 1) % 5 == 0:
            drawn = tidr.render(scene, cameras, hard, size, size).alpha.numpy() > 0.5
            wanted = soft > 0.5
            iou = float(np.mean((drawn & wanted).sum((1, 2, 3)) / (drawn | wanted).sum((1, 2, 3))))
            for mark in (0.8, 0.85, 0.9, 0.92, 0.94, 0.95):
                if iou >= mark:
                    reached.setdefault(f"seconds_to_iou_{mark}", round(spent, 2))
        start = time.perf_counter()
    return {**reached, "final_iou": iou, "iterations": turn + 1, "ms_per_iteration": spent / (turn + 1) * 1e3}


CASES: dict[str, Callable[[Path], dict[str, float]]] = {
    "mesh": lambda options: mesh_times(),
    "soft_1280": lambda options: soft_times(3),
    "soft_5120": lambda options: soft_times(4),
    "soft_port": lambda options: port_times("soft"),
    "nmr_port": lambda options: port_times("nmr"),
    "soft_phong": lambda options: soft_phong_times(options.assets / "spot" / "spot.obj"),
    "fit": lambda options: silhouette_fit(options.assets / "spot" / "spot.obj"),
}
RIVALS = {
    "mesh": (
        ("w1_mesh_mitsuba.py", "W1/ico6/512/mitsuba-prb-4spp-moving", "fwdbwd_ms", "forward_backward_ms"),
        ("w1_mesh_mitsuba.py", "W1/ico6/512/mitsuba-projective-4spp-moving", "fwdbwd_ms", "forward_backward_ms"),
        ("w1_mesh_pyrender.py", "ico6/512", "forward_ms", "forward_ms"),
    ),
    "soft_phong": (("w1_mesh_pytorch3d.py", "W1/spot/256/p3d-phong-K8", "fwdbwd_ms", "forward_backward_ms"),),
    "fit": (("w2_fit_mitsuba.py", "W2/fit/mitsuba-projective-4spp", "s_to_iou", "seconds_to_iou_0.95"),),
}


def rival(python: str, script: Path, case: str, key: str) -> float | None:
    """One figure of a rival's script; None where it failed."""
    done = subprocess.run([python, str(script), "--only", case], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if not record.get("failed") and key in record:
            value = record[key]
            return value.get("0.95") if isinstance(value, dict) else value
    return None


def compare(name: str, ours: dict[str, float], options: argparse.Namespace) -> list[dict]:
    """The rivals of one case; printed and returned."""
    if name.endswith("_port"):
        return compare_port(name, ours, options.python)
    rows = []
    for script, case, key, own_key in RIVALS.get(name, ()):
        theirs = rival(options.python, options.rivals / script, case, key)
        if theirs is None or own_key not in ours:
            print(f"  {case}: did not run")
            continue
        ratio = theirs / ours[own_key]
        rows.append({"case": name, "rival": case, key: theirs, "ratio": ratio})
        print(f"  {case}: {theirs:.1f}, ratio {ratio:.1f}", flush=True)
    return rows


if __name__ == "__main__":
    run_cases(__file__, __doc__, CASES, compare)
