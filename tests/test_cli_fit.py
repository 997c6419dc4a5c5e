"""The verbs fit and render, as a user runs them: exit codes, one line of error, the files that come out."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.fit_toys import write_field_toy, write_toy
from tidr.cli import app, guarded
from tidr.files.image import read_image

runner = CliRunner()


def test_fit_then_render_the_run(f32, tmp_path):
    scene = write_toy(tmp_path, steps=8)
    run = tmp_path / "run"
    result = runner.invoke(app, ["fit", str(scene), "-o", str(run)])
    assert result.exit_code == 0, result.output
    assert "mask IoU" in result.output
    assert "PSNR" in result.output
    assert "--set" not in (run / "command.txt").read_text()
    picture = tmp_path / "a.png"
    result = runner.invoke(app, ["render", str(run / "scene.toml"), "-o", str(picture), "--width", "16"])
    assert result.exit_code == 0, result.output
    assert read_image(picture).shape[:2] == (16, 16)
    assert read_image(picture)[..., :3].max() > 0.05


def test_fit_resumes_to_more_steps(f32, tmp_path):
    scene, run = write_toy(tmp_path, steps=8), tmp_path / "run"
    assert runner.invoke(app, ["fit", str(scene), "-o", str(run), "--steps", "4"]).exit_code == 0
    assert runner.invoke(app, ["fit", str(scene), "-o", str(run), "--resume"]).exit_code == 0
    lines = (run / "loss.csv").read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in lines] == list(range(8))


def test_set_overrides_and_seed(f32, tmp_path):
    scene, run = write_toy(tmp_path, steps=8), tmp_path / "run"
    options = ["-o", str(run), "--set", "fit.steps=3", "--seed", "5"]
    assert runner.invoke(app, ["fit", str(scene), *options]).exit_code == 0
    assert len((run / "loss.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "no_such_scene"], "no_such_scene"),
        (["fit", "{scene}", "--set", "fit.stops=3"], "steps"),
        (["fit", "{scene}", "--set", "fit.views=missing.json"], "fit.views: missing.json: does not exist"),
        (["render", "{scene}", "-o", "a.xyz"], "a.xyz"),
        (["render", "{scene}", "-o", "a.png", "--camera", "left"], "left"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    scene = write_toy(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = runner.invoke(app, [part.format(scene=scene) for part in arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_fit_is_exit_code_1(f32, tmp_path):
    scene = write_toy(tmp_path, steps=3)
    text = scene.read_text().replace("[materials.paint]", '[materials.unused]\ntype = "lambert"\n[materials.paint]')
    scene.write_text(text + '[fit.parameters."unused.albedo"]\nlr = 1e-2\n')
    result = runner.invoke(app, ["fit", str(scene), "-o", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "unused.albedo" in result.stderr


def test_guarded_gives_130_on_ctrl_c():
    import typer

    def verb() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        guarded(verb)()
    assert caught.value.exit_code == 130


@pytest.mark.parametrize(
    ("number", "code", "write"),
    [(signal.SIGINT, 130, write_toy), (signal.SIGTERM, 143, write_field_toy)],
)
def test_signals_save_and_exit(tmp_path, number, code, write):
    scene, run = write(tmp_path, steps=100000), tmp_path / "run"
    command = [sys.executable, "-m", "tidr.cli", "fit", str(scene), "-o", str(run), "--set", "fit.save_every=100000"]
    with (tmp_path / "errors").open("w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            end = time.monotonic() + 120
            while count(run) < 5 and child.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            child.send_signal(number)
            assert child.wait(30) == code, (tmp_path / "errors").read_text()
            assert ("--resume goes on" in (tmp_path / "errors").read_text()) == (code == 130)
        finally:
            child.kill()
    from tidr.fitting import checkpoint

    saved = checkpoint.load(run)
    assert saved is not None
    assert saved.step == count(run) >= 5
    assert np.isfinite(saved.arrays["losses"]).all()


def count(run) -> int:
    """Whole lines of loss.csv after its head."""
    try:
        return len((run / "loss.csv").read_text().split("\n")) - 2
    except OSError:
        return 0
