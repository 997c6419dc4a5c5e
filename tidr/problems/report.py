"""What the bench prints: the matrix of methods and problems, and the table of rows."""

from collections.abc import Mapping, Sequence

from tidr import runtime

from .rows import ROWS
from .runner import Result

DETAILS = ("problem", "edges", "verdict", "error", "limit", "iterations", "seconds", "MiB")
WORDS = {"solved": "solved", "known": "fails (known)", "failed": "FAILED"}


def matrix(results: Sequence[Result]) -> list[list[str]]:
    """Rows of cells, the head first: one row a problem, one column a treatment."""
    treatments = list(dict.fromkeys(result.treatment for result in results))
    cells = {(result.problem, result.treatment): result for result in results}
    table = [["problem", "what", *treatments]]
    for name, title in dict.fromkeys((result.problem, result.title) for result in results):
        found = (cells.get((name, treatment)) for treatment in treatments)
        table.append([name, title, *("" if result is None else _cell(result) for result in found)])
    return table


def text(results: Sequence[Result]) -> str:
    """The matrix in columns, then why methods fail where they do."""
    return "\n".join([*aligned(matrix(results)), *_notes(results)])


def markdown(results: Sequence[Result]) -> str:
    """The matrix as a Markdown document, with errors, times, memory and the machine's backend."""
    running = runtime.current()
    head, *body = matrix(results)
    lines = ["# Toy problems", "", f"Backend {running.arch}, {running.precision} bits, {running.threads} threads.", ""]
    lines += piped([head, ["---"] * len(head), *body])
    lines += [
        "",
        *piped([[*DETAILS, "gradient picture"], ["---"] * 9]),
    ]
    for r in results:
        numbers = [
            f"{r.error:.3g} {r.measure}",
            f"{r.threshold:.3g}",
            str(r.iterations),
            f"{r.seconds:.1f}",
            f"{r.device_mib:.1f}",
            r.picture,
        ]
        lines += piped([[r.problem, r.treatment, WORDS[r.verdict], *numbers]])
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(results))]) + "\n"


def as_dict(results: Sequence[Result]) -> dict:
    """Plain data for JSON."""
    running = runtime.current()
    head = {"arch": running.arch, "precision": running.precision, "threads": running.threads}
    return head | {"results": [result.as_dict() for result in results]}


def row_states(outcomes: Mapping[str, Mapping[str, str]]) -> dict[int, str]:
    """Whether every row stands at "pass", "fail", "skipped" or "not yet", from what pytest's --rows-report wrote."""
    states = {}
    for row in ROWS:
        tests = list(outcomes.get(str(row.number), {}).values())
        ran = [outcome for outcome in tests if outcome != "skipped"]
        failed = any(outcome == "failed" for outcome in ran)
        states[row.number] = "fail" if failed else "pass" if ran else "skipped" if tests else "not yet"
    return states


def row_table(states: Mapping[int, str], numbers: Sequence[int]) -> str:
    """Number, title, section and state of the rows asked for, then a count."""
    table = [["row", "what", "section", "state"]]
    table += [[str(n), ROWS[n - 1].title, ROWS[n - 1].section, states[n]] for n in numbers]
    counts = {state: sum(states[n] == state for n in numbers) for state in ("pass", "fail", "skipped", "not yet")}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*aligned(table), f"{len(numbers)} rows: {summary}"])


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns, two spaces apart."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _cell(result: Result) -> str:
    return f"{WORDS[result.verdict]} {result.iterations} its, {result.seconds:.1f} s"


def _notes(results: Sequence[Result]) -> list[str]:
    return [f"{r.problem} with {r.treatment}: error {r.error:.3g} {r.measure}. {r.note}".rstrip()
            for r in results if not r.solved]  # fmt: skip


def piped(table: Sequence[Sequence[str]]) -> list[str]:
    """Cells as the rows of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in table]
