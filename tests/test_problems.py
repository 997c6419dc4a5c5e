"""Toy problems with every edge treatment, the matrix, and the checklist's rows."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.files.image import read_image
from tidr.problems import report
from tidr.problems.gradient_pictures import coloured, gradient_image
from tidr.problems.rows import ROWS, parse_numbers
from tidr.problems.runner import Result, drawer, problems, solve
from tidr.renderers.raster import EDGES

from .gradients import weighted

OWED = ("T1", "T2", "T3", "T6", "T8", "T9", "T10", "T11", "T12", "T13", "T16", "T17", "T18", "T19", "T20")
ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.row(106)
@pytest.mark.parametrize("treatment", EDGES)
@pytest.mark.parametrize("problem", [p for p in problems(OWED) if not p.renderers], ids=lambda problem: problem.name)
def test_every_treatment_solves_what_it_can(f32, problem, treatment):
    result = solve(problem, treatment)
    assert result.verdict == ("known" if treatment in problem.known else "solved"), result
    assert result.iterations <= 500


@pytest.mark.row(106)
@pytest.mark.parametrize(
    ("name", "treatment", "verdict"),
    [
        ("T1", "none", "known"),
        ("T9", "none", "solved"),
        ("T6", "antialias", "known"),
        ("T6", "soft", "solved"),
        ("T20", "antialias", "known"),
        ("T20", "soft", "solved"),
    ],
)
def test_known_failures_are_reported_as_such(f32, name, treatment, verdict):
    result = solve(problems([name])[0], treatment)
    assert result.verdict == verdict, result
    assert bool(result.note) == (verdict == "known")


@pytest.mark.row(2)
def test_the_loss_falls_on_t1(f32):
    task = problems(["T1"])[0].build()
    drawer, losses = tidr.Rasterizer(edges="antialias", channels=("alpha",)), []
    for _ in range(20):
        with tidr.Tape() as tape:
            image = tidr.render(task.scene, task.cameras, drawer)
            tape.add(tidr.losses.mse(image.alpha, task.targets["alpha"]))
        task.optimizer.step()
        losses.append(tape.loss)
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_problems_are_the_ones_owed():
    names = [problem.name for problem in problems()]
    assert names == [
        "T1", "T2", "T3-L", "T3-blob", "T3-cube", "T4-points", "T4-voxels", "T5-grid", "T5-mesh", "T5-tetrahedra", "T6",
        "T8", "T9", "T10", "T11", "T11-maps", "T12-harmonics", "T12-map", "T13", "T15-absorption", "T15-even",
        "T15-scattering", "T16", "T17", "T18-map", "T18-mesh", "T18-pose", "T19", "T20",
    ]  # fmt: skip
    assert [problem.name for problem in problems(["t3", "T3-cube"])] == ["T3-L", "T3-blob", "T3-cube"]
    with pytest.raises(tidr.SceneError, match="T7"):
        problems(["T7"])


def result(name: str, treatment: str, verdict: str, error: float = 0.1) -> Result:
    return Result(
        problem=name, title="a thing", treatment=treatment, verdict=verdict, iterations=7, error=error,
        threshold=0.2, measure="px", seconds=1.0, device_mib=1.5, note="why" if verdict != "solved" else "",
    )  # fmt: skip


def test_matrix_has_a_row_per_problem_and_a_column_per_treatment(f32):
    found = [
        result("T1", "none", "known", float("nan")),
        result("T1", "soft", "solved"),
        result("T2", "soft", "failed"),
    ]
    head, first, second = report.matrix(found)
    assert head == ["problem", "what", "none", "soft"]
    assert first[2].startswith("fails (known)")
    assert second[2:] == ["", "FAILED 7 its, 1.0 s"]
    assert "T2 with soft: error 0.1 px. why" in report.text(found)
    assert "| T1 | a thing | fails (known)" in report.markdown(found)
    assert json.loads(json.dumps(report.as_dict(found), allow_nan=False))["results"][0]["error"] is None


@pytest.mark.row(108)
@pytest.mark.parametrize("treatment", ["antialias", "nmr"])
def test_a_gradient_image_is_each_pixel_s_own_derivative(f32, treatment):
    """Single backward passes of some pixels; "nmr" answers either sign apart."""
    (problem,) = problems(["T1"])
    task = problem.build()
    place, renderer = task.scene["shape"].translation, drawer(problem, task, treatment)

    def draw() -> tidr.Array:
        return tidr.render(task.scene, task.cameras[0], renderer, 32, 32).alpha

    found = gradient_image(draw, place, 1)
    assert found.shape == (32, 32)
    rows, columns = np.nonzero(found)
    assert 10 < len(rows) < 800
    picks = np.random.default_rng(0).choice(len(rows), 3, replace=False)
    blank = [(0, 0), (31, 9)]
    assert not found[tuple(np.transpose(blank))].any()
    for row, column in [*zip(rows[picks], columns[picks], strict=True), *blank]:
        both = []
        for sign in (1.0, -1.0):
            seed = np.zeros((32, 32, 1))
            seed[row, column] = sign
            with tidr.Tape({"place": place}) as tape:
                tape.add(weighted(draw(), seed))
            both.append(sign * place.grad_numpy()[1])
        assert found[row, column] == pytest.approx(np.mean(both), rel=1e-4, abs=1e-6)
    picture = coloured(np.array([[-2.0, 0.0, 1.0]]), 2.0)
    np.testing.assert_array_equal(picture, [[[0, 0, 1], [1, 1, 1], [1, 0.5, 0.5]]])


@pytest.mark.row(107)
def test_command_writes_what_it_prints(f32, tmp_path):
    """With times, memory and a gradient picture."""
    files = {kind: tmp_path / f"matrix.{kind}" for kind in ("json", "markdown")}
    options = [f"--{kind}={file}" for kind, file in files.items()] + [f"--pictures={tmp_path / 'drawn'}"]
    done = CliRunner().invoke(app, ["bench", "--problems", "T2", "--edges", "antialias", "--arch", "cpu", *options])
    assert done.exit_code == 0, done.output
    assert "solved" in done.stdout
    (one,) = json.loads(files["json"].read_text())["results"]
    assert one["verdict"] == "solved"
    assert one["solved"]
    assert [file.name for file in (tmp_path / "drawn").iterdir()] == [one["picture"]]
    assert re.fullmatch(r"T2_antialias_shape\.scale\.0_within_[0-9.]+\.png", one["picture"])
    drawn = read_image(tmp_path / "drawn" / one["picture"])
    assert drawn.shape == (256, 256, 3)
    assert (drawn[..., 0] == 1).all()  # a sphere that grows adds light, and takes none away
    assert drawn[..., 1].min() == 0
    assert 0 < one["seconds"] < 600
    pictures = 8 * 4 * 64 * 64 / 2**20  # of one camera, with gradients, at least
    assert pictures < one["device_mib"] < 1000
    assert f"| T2 | antialias | solved | {one['error']:.3g} {one['measure']} |" in files["markdown"].read_text()
    assert f"| {one['seconds']:.1f} | {one['device_mib']:.1f} |" in files["markdown"].read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["T99"],
        ["--edges", "fuzzy"],
        ["--rows", "--problems"],
        ["--rows", "236"],
        ["--rows", "four"],
        ["T1", "--pictures", __file__],
    ],
)
def test_command_refuses_bad_input_with_2(arguments):
    assert CliRunner().invoke(app, ["bench", *arguments]).exit_code == 2


def test_rows_are_numbered_and_parsed():
    assert [row.number for row in ROWS] == list(range(1, 236))
    assert all(row.title and row.section for row in ROWS)
    assert parse_numbers("4-6, 26,5") == [4, 5, 6, 26]
    for text in ("", "0", "5-4", "1-236", "a", "1-2-3", "-4"):
        with pytest.raises(ValueError, match="row"):
            parse_numbers(text)


def run_rows(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of pytest on three marked tests."""
    shutil.copy(Path(__file__).with_name("rows_plugin.py"), folder / "conftest.py")
    (folder / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.row(4)\ndef test_good(): pass\n"
        "@pytest.mark.row(5, 6)\ndef test_bad(): assert False\n"
        "@pytest.mark.row(7)\ndef test_absent(): pytest.skip('no device')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.row(235)
def test_a_run_of_rows_fails_for_a_row_without_a_test(tmp_path):
    code, said = run_rows(tmp_path, "--rows", "4")
    assert (code, "1 passed, 2 deselected" in said) == (0, True)
    code, said = run_rows(tmp_path, "--rows", "4,8")
    assert (code, "FAILED row 8" in said) == (1, True)
    code, said = run_rows(tmp_path, "--rows", "8")
    assert (code, "FAILED row 8" in said) == (1, True)
    assert run_rows(tmp_path, "--rows", "300")[0] == pytest.ExitCode.USAGE_ERROR


@pytest.mark.row(235)
def test_every_row_is_in_the_table(tmp_path):
    file = tmp_path / "rows.json"
    assert run_rows(tmp_path, "--rows-report", str(file))[0] == 1
    states = report.row_states(json.loads(file.read_text()))
    assert [states[number] for number in range(3, 9)] == ["not yet", "pass", "fail", "fail", "skipped", "not yet"]
    done = CliRunner().invoke(app, ["bench", "--rows", "--results", str(file)])
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1 + 235 + 1
    assert "235 rows: 1 pass, 2 fail, 1 skipped, 231 not yet" in done.stdout
    done = CliRunner().invoke(app, ["bench", "--rows", "4,8", "--results", str(file)])
    assert done.exit_code == 0
