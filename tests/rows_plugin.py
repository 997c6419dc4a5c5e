"""`@pytest.mark.row(12)`, `pytest --rows 4-23,26` and `pytest --rows-report FILE`.

A test proves the rows of its marks. With --rows only such tests run, and a row that none of them proves fails the run.
"""

import json
from pathlib import Path

import pytest

from tidr.problems.rows import ROWS, parse_numbers

GRAVITY = ("passed", "skipped", "failed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rows of the checklist")
    group.addoption("--long", action="store_true", help="run fits and statistical studies that take long, too")
    group.addoption("--rows", metavar="LIST", help="run only the tests of these rows, as in 4-23,26")
    group.addoption("--rows-report", metavar="FILE", type=Path, help="write what the tests said of each row as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"row(number, ...): rows of the checklist, 1 to {len(ROWS)}, that a test proves")
    config.addinivalue_line("markers", "long: a fit or a study that takes long; runs with --long and with --rows")
    config.pluginmanager.register(RowsPlugin(config), "rows")


def rows_of(item: pytest.Item) -> set[int]:
    """Row numbers of a test's marks."""
    rows = {number for mark in item.iter_markers("row") for number in mark.args}
    unknown = [number for number in rows if number not in range(1, len(ROWS) + 1)]
    if unknown:
        raise pytest.UsageError(f"{item.nodeid}: no row {unknown[0]}")
    return rows


class RowsPlugin:
    """Chooses tests by row, and collects each row's outcomes."""

    def __init__(self, config: pytest.Config) -> None:
        self.report_file: Path | None = config.getoption("--rows-report")
        self.wanted: set[int] | None = None
        self.unproven: list[int] = []
        self.outcomes: dict[int, dict[str, str]] = {}
        if config.getoption("--rows") is not None:
            try:
                self.wanted = set(parse_numbers(config.getoption("--rows")))
            except ValueError as fault:
                raise pytest.UsageError(f"--rows: {fault}") from None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        marked = [(item, rows_of(item)) for item in items]
        for item, rows in marked:
            item.user_properties.append(("rows", sorted(rows)))
        if self.wanted is None:
            return
        self.unproven = sorted(self.wanted - {number for _, rows in marked for number in rows})
        config.hook.pytest_deselected(items=[item for item, rows in marked if not rows & self.wanted])
        items[:] = [item for item, rows in marked if rows & self.wanted]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for number in dict(report.user_properties).get("rows", ()):
            tests = self.outcomes.setdefault(number, {})
            tests[report.nodeid] = max(report.outcome, tests.get(report.nodeid, "passed"), key=GRAVITY.index)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.report_file:
            text = json.dumps({str(number): tests for number, tests in sorted(self.outcomes.items())}, indent=1)
            self.report_file.write_text(text)
        if self.unproven and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter) -> None:
        for number in self.unproven:
            row = ROWS[number - 1]
            terminalreporter.write_line(f"FAILED row {number} ({row.title}): no test proves it", red=True)
