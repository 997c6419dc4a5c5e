"""Antialiasing, softening and the other edge treatments compared over an offset: what each feels from how far."""

import json

import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.problems.offsets import TRUE, Point, chart, sweep, table

FAR = {"T1": 4.0, "T20": 30.0}


@pytest.mark.long
@pytest.mark.row(205)
def test_every_treatment_feels_what_it_can(f32):
    """At 4 pixels all but the blind have the true slope within a third; at 30, apart, only the wide have any."""
    found = {(p.problem, p.treatment): p for name, offset in FAR.items() for p in sweep([name], [offset])}
    for problem, feels in (("T1", 1 / 3), ("T20", 0.0)):
        true = found[problem, TRUE].slope
        for (name, treatment), point in found.items():
            if name != problem or treatment == "nmr":  # whose slope is no derivative, but has the sign
                continue
            if treatment in ("none", "genova"):
                assert point.slope == 0
            elif problem == "T20" and treatment.endswith("wide"):
                assert point.slope > 1e-4
            elif treatment != "dibr":  # its mask swells, so that its loss is another one
                assert abs(point.slope - true) <= feels * abs(true), point
    assert found["T20", "dibr"].slope == 0
    assert found["T1", "dibr"].slope > 0.03
    assert found["T1", "nmr"].slope > 0


def points() -> list[Point]:
    return [Point("T1", "soft", 4.0, 0.5, 0.125), Point("T1", "true", 4.0, 0.25, 0.0), Point("T1", "true", 1.0, 1, -1)]


def test_the_table_has_a_row_a_treatment_and_a_column_an_offset():
    assert table(points()) == [
        ["problem", "edges", "1 px: loss, slope", "4 px: loss, slope"],
        ["T1", "soft", "", "0.5000 +1.2e-01"],
        ["T1", "true", "1.0000 -1.0e+00", "0.2500 +0.0e+00"],
    ]


@pytest.mark.row(205)
def test_the_chart_has_a_line_a_treatment():
    pytest.importorskip("matplotlib")
    left, right = chart(points()).axes
    assert [line.get_label() for line in left.lines] == ["soft", "true"]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.125], [0.0, -1.0]]


@pytest.mark.long
def test_command_writes_what_it_prints(tmp_path):
    files = {kind: tmp_path / f"offsets.{kind}" for kind in ("json", "markdown")}
    done = CliRunner().invoke(
        app, ["bench", "T1", "--offsets", "--arch", "cpu", *(f"--{k}={f}" for k, f in files.items())]
    )
    assert done.exit_code == 0, done.output
    held = [Point(**each) for each in json.loads(files["json"].read_text())]
    assert "| " + " | ".join(table(held)[-1]) + " |" in files["markdown"].read_text()
    assert done.stdout.splitlines()[1].startswith("T1       none")


def test_only_discs_have_offsets():
    with pytest.raises(tidr.SceneError, match="T2: moves no disc"):
        sweep(["T2"])
    assert CliRunner().invoke(app, ["bench", "--offsets", "--rows"]).exit_code == 2
