"""tidr doctor: versions, backends that work, extras; each backend is tried in a process of its own."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import typer

PACKAGES = ("taichi", "numpy", "pillow", "pydantic", "trimesh", "typer")
EXTRAS = {
    "torch": ("torch",),
    "exr": ("OpenEXR",),
    "volumes": ("nrrd",),
    "geometry": ("fast_simplification", "xatlas"),
    "plots": ("matplotlib",),
}
BACKENDS = (("cpu", 32), ("cpu", 64), ("cuda", 32), ("vulkan", 32), ("metal", 32))
SECONDS = 240  # a first start compiles its kernels
MARK = "tidr-probe:"


def doctor() -> None:
    """Check this machine: versions, backends with a gradient check each, Vulkan devices, optional extras."""
    import tidr
    from tidr.errors import BackendError
    from tidr.runtime import vulkan_devices

    typer.echo(f"tidr {tidr.__version__}, python {platform.python_version()}, {platform.platform()}")
    typer.echo(", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    devices = vulkan_devices()
    for device in devices:
        typer.echo(f"vulkan device: {device['name']}" + (" (software)" if device["software"] else ""))
    if not devices:
        typer.echo("vulkan device: none")
    worked = 0
    for arch, precision in BACKENDS:
        outcome = run_probe(arch, precision)
        worked += outcome["state"] == "ok"
        typer.echo(f"{arch}-f{precision}: {outcome['state']}, {outcome['note']}")
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        typer.echo(f"extra {extra}: " + (f"not installed ({' '.join(missing)})" if missing else "installed"))
    if not worked:
        raise BackendError("doctor", "no backend works", "install Taichi anew: pip install --force-reinstall taichi")


def run_probe(arch: str, precision: int) -> dict[str, str]:
    """{"state": "ok", "failed" or "absent", "note"} of one backend, found in a child process."""
    import tidr

    folder = str(Path(tidr.__file__).parents[1])
    paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    code = f"from tidr.cli.doctor import probe; probe({arch!r}, {precision})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | {"PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        return {"state": "failed", "note": f"no answer within {SECONDS} s"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"state": "failed", "note": f"the process ended with code {done.returncode}: {last[:200]}"}


def probe(arch: str, precision: int) -> None:
    """Start the backend, run a kernel, and hold a small render's vertex gradient against differences; prints JSON."""
    from tidr.errors import BackendError

    try:
        outcome = _try(arch, precision)
    except BackendError as error:
        outcome = {"state": "absent", "note": error.what}
    except Exception as error:  # whatever a driver throws is the finding
        outcome = {"state": "failed", "note": f"{type(error).__name__}: {error}"[:200]}
    print(MARK + json.dumps(outcome), flush=True)


def _try(arch: str, precision: int) -> dict[str, str]:
    import numpy as np

    from tidr.array import Array
    from tidr.fitting.gradcheck import check_gradients
    from tidr.renderers.raster import Rasterizer
    from tidr.runtime import init
    from tidr.scene.camera import Camera
    from tidr.scene.graph import Film, Node, Scene
    from tidr.scene.light import PointLight
    from tidr.scene.material import Material
    from tidr.scene.mesh import Mesh

    init(arch=arch, precision=precision)
    # A kernel and back.
    numbers = np.arange(12.0).reshape(4, 3)
    if not np.array_equal(Array.of(numbers).numpy(), numbers):
        return {"state": "failed", "note": "an array came back changed"}
    # A bumpy sheet larger than the view: no silhouette, so its picture is smooth in its vertices.
    u, v = np.meshgrid(np.linspace(-3, 3, 6), np.linspace(-3, 3, 6))
    vertices = np.stack([u, v, 0.3 * np.sin(2 * u) * np.cos(v)], -1).reshape(-1, 3)
    corner = (np.arange(5)[:, None] * 6 + np.arange(5)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 1, 7], corner[:, None] + [0, 7, 6]])
    scene = Scene(Film(16, 16))
    scene.add_material("paint", Material("lambert", albedo=0.8))
    scene.add_light("lamp", PointLight((0.5, 0.5, 3.0), 20.0))
    scene.add_node("sheet", Node(Mesh(vertices, faces), ("paint",)))
    scene.add_camera("front", Camera.look_at((0.13, 0.07, 3), (0.1, 0, 0), fov_y_degrees=40, width=16, height=16))
    plain = Rasterizer(edges="none", channels=("rgb",))
    report = check_gradients(scene, "front", plain, ["sheet.vertices"], channels=("rgb",), directions=3)  # type: ignore[arg-type]
    (row,) = report.rows
    state = "ok" if row.passed and row.largest > 0 and row.directions > 0 else "failed"
    return {"state": state, "note": f"gradient error {row.error:.1e} (limit {report.tolerance:.0e})"}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
