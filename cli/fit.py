"""tidr fit: from pictures to the scene that made them."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def fit(
    scene: Annotated[str, typer.Argument(help="Bundled name or .toml with a [fit] table.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; runs/<scene> by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many; schedules stay as they are.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's newest checkpoint.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a scene key.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Resume even if the scene or its settings changed.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Which views come together; like --set fit.seed.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Watch it in a window, which can also hold it.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Tell TensorBoard of it.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that share each step's views.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Dask cluster with the workers.")] = None,
) -> None:
    """Fit a scene to pictures, as its [fit] table says, and write the run folder.

    Ctrl-C finishes the step, saves, and ends with exit code 130; --resume goes on from there. With --workers or
    --scheduler (pip install 'tidr[distributed]') the result is that of one process but for rounding.
    """
    from tidr.files.scene_file import load_scene
    from tidr.fitting.fit import fit_from_settings
    from tidr.runtime import current

    from .output import board, clock, watcher

    if view:
        from tidr.viewer.window import refuse_without_window

        refuse_without_window()
    overrides = [*(set_ or ()), *([f"fit.seed={seed}"] if seed is not None else [])]
    loaded = load_scene(scene, overrides)
    folder = output or Path("runs") / Path(scene.rstrip("/")).stem
    heard = watcher()
    machine = current()
    heard.say(f"computing on {machine.arch}, {machine.precision} bits, {machine.threads} threads")
    if tensorboard is not None:
        heard = board(tensorboard, loaded, heard)
    if view:
        from tidr.viewer.live import live_fit

        heard = live_fit(heard, loaded, folder.name)
    options = {"output": folder, "steps": steps, "resume": resume, "force": force, "watcher": heard}
    try:
        with _crew(scene, overrides, workers, scheduler) as crew:
            result = fit_from_settings(loaded, crew=crew, **options)
    except KeyboardInterrupt:
        if any(folder.glob("checkpoint-*.npz")):
            typer.echo(f"saved in {folder}; --resume goes on from there", err=True)
        raise
    mean = result.metrics["mean"]
    parts = [f"{result.steps} steps in {clock(result.metrics['seconds'])}"]
    if mean["psnr"] is not None:
        parts.append(f"PSNR {mean['psnr']:.2f} dB of linear light, {mean['psnr_srgb']:.2f} dB of sRGB")
    parts += [f"mask IoU {mean['iou']:.4f}"] if mean["iou"] is not None else []
    count = len(result.metrics["views"])
    typer.echo(f"{', '.join(parts)} ({count} views, {result.metrics['views_are']})")
    for path, one in result.metrics.get("truth", {}).items():
        unit = f" {one['unit']}" if one["unit"] else f" ({one['share']:.1%})" if "share" in one else ""
        typer.echo(f"{path} is {one['error']:.3g}{unit} from the truth, {one['before']:.3g} before")
    if bounds := result.metrics.get("bounds"):
        far = f"from {bounds['before']:.4g} to {bounds['now']:.4g}, {bounds['times']:.1f} times as far as random steps"
        typer.echo(f"the loss went {far} within the same bounds take it")
    typer.echo(f"written to {folder}")
    heard.linger()


def _crew(scene: str, overrides: list[str], workers: int | None, scheduler: str | None):
    """The crew of a fit; none where this process is enough."""
    if scheduler is None and workers in (None, 1):
        return nullcontext()
    from tidr.fitting.workers import Workers

    return Workers(scene, overrides, workers, scheduler)
