"""tidr bench: toy problems, and the checklist of everything owed."""

import json
import math
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer


def bench(
    which: Annotated[list[str] | None, typer.Argument(help="Problems (T1 T3 ...) or rows (4-23,26); all.")] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Run the toy problems (the default).")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="Run the checklist's tests and print its table.")] = False,
    offsets: Annotated[
        bool,
        typer.Option("--offsets", help="Compare loss and slope over the offsets of T1 and T20, by edge treatment."),
    ] = False,
    edges: Annotated[
        list[str] | None, typer.Option(help="Those of tidr.Rasterizer, or all, the default; may be repeated.")
    ] = None,
    arch: Annotated[str, typer.Option(help="Backend.")] = "auto",
    results: Annotated[Path | None, typer.Option(help="With --rows: what pytest --rows-report wrote.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Also write Markdown.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also draw each pixel's derivative by one number of each problem, as PNG; it takes minutes.",
        ),
    ] = None,
) -> None:
    """Print how every edge treatment does on every toy problem, or which rows of the checklist are proven.

    Where a method is bound to fail, the table says why; any other failure ends with code 1.
    """
    from tidr.errors import TidrError

    if rows + problems + offsets > 1:
        raise TidrError("bench", "two of --problems, --rows and --offsets together", "choose one")
    if rows:
        _rows(which or [], results, json_file)
    elif offsets:
        _offsets(which, arch, json_file, markdown)
    else:
        _problems(which, edges, arch, json_file, markdown, pictures)


def _problems(which, edges, arch: str, json_file: Path | None, markdown: Path | None, pictures: Path | None) -> None:
    import tidr
    from tidr.errors import FileError, TidrError
    from tidr.files.write import write_bytes
    from tidr.problems import report
    from tidr.problems.gradient_pictures import write_gradient_picture
    from tidr.problems.runner import problems as chosen
    from tidr.problems.runner import solve
    from tidr.renderers.raster import EDGES

    for each in edges or ():
        if each not in (*EDGES, "all"):
            raise TidrError("bench --edges", f"unknown treatment {each!r}", f"choose from {', '.join(EDGES)}, all")
    chosen_edges = None if "all" in (edges or ["all"]) else edges
    todo = chosen(which)
    if pictures:
        try:
            pictures.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise FileError(pictures, f"cannot be made: {fault.strerror}", "give another folder") from None
    found = []
    with redirect_stdout(sys.stderr):  # standard output is for the matrix alone
        tidr.init(arch=arch)
        for problem in todo:
            for treatment in problem.treatments if chosen_edges is None else chosen_edges:
                if problem.renderers and treatment not in problem.renderers:
                    continue
                last = solve(problem, treatment)
                if pictures and problem.shown and math.isfinite(last.error):
                    last = replace(last, picture=write_gradient_picture(problem, treatment, pictures))
                found.append(last)
                print(f"{last.problem} {treatment}: {last.verdict}, {last.iterations} iterations, {last.seconds:.1f} s")
    typer.echo(report.text(found))
    if json_file:
        write_bytes(json_file, json.dumps(report.as_dict(found), indent=1).encode())
    if markdown:
        write_bytes(markdown, report.markdown(found).encode())
    if any(result.verdict == "failed" for result in found):
        raise typer.Exit(1)


def _offsets(which, arch: str, json_file: Path | None, markdown: Path | None) -> None:
    import tidr
    from tidr.files.write import write_bytes
    from tidr.problems import offsets
    from tidr.problems.report import piped

    with redirect_stdout(sys.stderr):
        tidr.init(arch=arch)
        points = offsets.sweep(which or ("T1", "T20"))
    typer.echo(offsets.text(points))
    if json_file:
        write_bytes(json_file, json.dumps([asdict(point) for point in points], indent=1).encode())
    if markdown:
        head, *body = offsets.table(points)
        write_bytes(markdown, ("\n".join(piped([head, ["---"] * len(head), *body])) + "\n").encode())


def _rows(which: list[str], results: Path | None, json_file: Path | None) -> None:
    from tidr.errors import TidrError
    from tidr.files.write import write_bytes
    from tidr.problems.report import row_states, row_table
    from tidr.problems.rows import ROWS, parse_numbers

    try:
        numbers = parse_numbers(",".join(which)) if which else [row.number for row in ROWS]
    except ValueError as fault:
        raise TidrError("bench --rows", str(fault), "write numbers and ranges, as in 4-23,26") from None
    outcomes = _read(results) if results else _run(",".join(which))
    states = row_states(outcomes)
    typer.echo(row_table(states, numbers))
    if json_file:
        table = {str(n): {"state": states[n], "tests": outcomes.get(str(n), {})} for n in numbers}
        write_bytes(json_file, json.dumps(table, indent=1).encode())
    if any(states[n] == "fail" for n in numbers):
        raise typer.Exit(1)


def _run(rows: str) -> dict:
    """Outcomes of the tests of some rows ("4-23,26"), or of all, from a run of pytest in the checkout."""
    import tidr
    from tidr.errors import TidrError

    root = Path(tidr.__file__).resolve().parents[1]
    if not (root / "tests" / "rows_plugin.py").is_file():
        raise TidrError("bench --rows", "there are no tests beside this installation", "run it in a git clone of tidr")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "pytest", "-q", "--rows-report", str(file), "--rows", rows or "1-235", "tests"]
        code = subprocess.run(command, cwd=root, stdout=sys.stderr).returncode
        if not file.is_file():
            raise TidrError("bench --rows", f"pytest ended with code {code}", "see what it printed")
        return _read(file)


def _read(file: Path) -> dict:
    from tidr.errors import FileError

    try:
        outcomes = json.loads(file.read_text())
    except (OSError, ValueError) as fault:
        raise FileError(file, f"cannot be read as JSON ({fault})", "make it with pytest --rows-report FILE") from None
    if not isinstance(outcomes, dict) or not all(isinstance(tests, dict) for tests in outcomes.values()):
        raise FileError(file, "is not what pytest --rows-report writes", "make it with pytest --rows-report FILE")
    return outcomes
