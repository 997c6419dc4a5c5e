"""tidr check: gradients against finite differences."""

import json
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

SOFT = {"sigma": 3e-4, "gamma": 1e-2}  # wide enough that a small picture feels it


def check(
    scene: Annotated[str, typer.Argument(help="Bundled name, .toml, mesh file, transforms.json or its folder.")],
    edges: Annotated[list[str] | None, typer.Option(help="none, antialias, soft; none and soft by default.")] = None,
    camera: Annotated[str | None, typer.Option(help="Name of a camera; the first by default.")] = None,
    parameters: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="Paths, as duck.*; all.")] = None,
    size: Annotated[int, typer.Option(min=8, max=1024, help="Pixels of the longer side of the test picture.")] = 48,
    directions: Annotated[int, typer.Option(min=0, help="At most so many per parameter; 0: every scalar.")] = 8,
    arch: Annotated[str, typer.Option(help="Backend whose gradients are checked.")] = "cpu",
    precision: Annotated[int, typer.Option(help="64, or 32: then held against differences made in 64 bits.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the test loss and of the directions.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a scene key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hold the gradient of every parameter of a scene against finite differences; exit code 1 when one is off."""
    import tidr
    from tidr.files.scene_file import load_scene
    from tidr.fitting.gradcheck import check_gradients

    drawers = [tidr.Rasterizer(edges=each, channels=(), **(SOFT if each == "soft" else {}))
               for each in edges or ("none", "soft")]  # fmt: skip

    def reports(on: str, bits: int, differences: list) -> list:
        tidr.init(arch=on, precision=bits)
        loaded = load_scene(scene, set_ or ())
        seen = _seen(loaded, camera)
        options = {"directions": directions or None, "size": _size(seen, size), "seed": seed}
        _unalign(seen, size)
        return [
            check_gradients(loaded, camera, drawer, parameters, differences=known, **options)
            for drawer, known in zip(drawers, differences, strict=True)
        ]

    with redirect_stdout(sys.stderr):  # standard output is for the report alone
        found = reports("cpu", 64, [None] * len(drawers))
        if (arch, precision) != ("cpu", 64):
            found = reports(arch, 32 if arch in ("vulkan", "metal") else precision, [r.differences for r in found])
    if as_json:
        typer.echo(json.dumps({"passed": all(r.passed for r in found), "reports": [r.as_dict() for r in found]}))
    else:
        for report in found:
            _show(report)
    if not all(report.passed for report in found):
        raise typer.Exit(1)


def _seen(scene, camera: str | None):
    """The camera of the test picture; None where there is none."""
    return scene.cameras.get(camera) if camera else next(iter(scene.cameras.values()), None)


def _unalign(seen, size: int) -> None:
    """Shift the camera by a part of a test pixel and roll it a little.

    Edges through pixel centres or at exactly 45 degrees, as in a view down the middle of a room, have no derivative.
    """
    if seen is None:
        return
    import numpy as np

    from tidr.scene.transform import quaternion_from_rotation, rotation_numbers

    pixel = max(seen.width, seen.height) / size
    seen.principal_point.set(seen.principal_point.numpy() + pixel * np.array([0.1373, 0.2917]))
    w, x, y, z = quaternion_from_rotation(seen.camera_to_world[:3, :3])
    cosine, sine = np.cos(0.03), np.sin(0.03)
    rolled = [w * cosine - z * sine, x * cosine + y * sine, y * cosine - x * sine, z * cosine + w * sine]
    held = "quaternion" if seen.rotation.shape == (4,) else "6d"
    seen.rotation.set(rotation_numbers(rolled, held, "camera")[0])


def _size(seen, longest: int) -> tuple[int, int]:
    """(width, height) of the test picture, in the camera's own shape."""
    if seen is None:
        return longest, longest
    scale = longest / max(seen.width, seen.height)
    return max(round(seen.width * scale), 1), max(round(seen.height * scale), 1)


def _show(report) -> None:
    """The report as a table: coloured in a terminal, plain elsewhere."""
    failed = sum(not row.passed for row in report.rows)
    title = f"{report.renderer} on {report.arch}, {report.precision} bits, tolerance {report.tolerance:g}"
    verdict = f"{len(report.rows) - failed} of {len(report.rows)} parameters pass"
    if not sys.stdout.isatty():
        typer.echo("\n".join([title, report.table(), verdict, ""]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption=verdict)
    for name in ("parameter", "scalars", "directions", "kinks", "max |grad|", "error", "verdict"):
        table.add_column(name, justify="left" if name in ("parameter", "verdict") else "right")
    for row in report.rows:
        numbers = [str(row.scalars), str(row.directions), str(row.kinks), f"{row.largest:.2e}", f"{row.error:.1e}"]
        word = "[green]pass[/]" if row.passed else "[bold red]FAIL[/]"
        table.add_row(row.path, *numbers, f"{word} {row.note}")
    Console().print(table)
