"""Broken and hostile files: each is read as something valid or refused by one clear error, in bounded time."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidr

from .malformed.child import read
from .malformed.corpus import Case, bombs, cases, valid

KINDS = tuple(valid())
EXTRAS = {"exr": "OpenEXR", "nrrd": "nrrd"}
CHILD = Path(__file__).parent / "malformed" / "child.py"


def run_child(folder: Path, todo: list[Case], megabytes: int) -> dict[str, tuple[str, float]]:
    """Verdict and seconds of each case, read in another process with so much more memory."""
    listed = []
    for index, case in enumerate(todo):
        home = folder / str(index)
        home.mkdir()
        for name, data in case.files.items():
            (home / name).parent.mkdir(exist_ok=True)
            (home / name).write_bytes(data)
        listed.append((case.name, f"{index}/{case.main}"))
    (folder / "cases.json").write_text(json.dumps(listed))
    paths = os.pathsep.join([str(Path(tidr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(CHILD), str(folder), str(megabytes)]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )
    verdicts = {}
    for line in (folder / "verdicts.jsonl").read_text().splitlines():
        name, verdict, seconds = json.loads(line)
        verdicts[name] = (verdict, seconds)
    assert ended.returncode == 0, f"died at {list(verdicts)[-1:]}: {ended.stderr[-2000:]}"
    return verdicts


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[str, tuple[str, float]]:
    return run_child(tmp_path_factory.mktemp("corpus"), list(cases()), 256)


def test_corpus_is_large_and_always_the_same():
    names = [case.name for case in cases()]
    assert len(names) >= 400
    assert len(set(names)) == len(names)
    first, second = list(cases()), list(cases())
    assert all(one.files == other.files for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_are_read(kind, tmp_path):
    if kind in EXTRAS:
        pytest.importorskip(EXTRAS[kind], reason="an extra of tidr is not installed")
    for name, data in valid()[kind].files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert read(tmp_path / valid()[kind].main) == "valid"


@pytest.mark.parametrize("kind", KINDS)
def test_broken_files_are_refused_or_valid(kind, verdicts):
    mine = {name: verdict for name, verdict in verdicts.items() if name.startswith(f"{kind}: ")}
    wrong = {name: verdict for name, (verdict, _) in mine.items() if not verdict.startswith(("valid", "refused: "))}
    assert not wrong
    assert {name: seconds for name, (_, seconds) in mine.items() if seconds > 2} == {}
    refused = [name for name, (verdict, _) in mine.items() if verdict.startswith("refused")]
    assert len(refused) > len(mine) / 3


ALWAYS_WRONG = ("empty", "cut at 0 %", "cut at 50 %", "random bytes", "nan", "inf", "Infinity", "1e400", "deep nesting")


def test_what_can_be_nothing_but_wrong_is_refused(verdicts):
    wrong = {
        name: verdict
        for name, (verdict, _) in verdicts.items()
        if any(name.endswith(ending) for ending in ALWAYS_WRONG) and not verdict.startswith("refused")
    }
    # Half of an OBJ is an OBJ with fewer faces, as long as it is cut between two lines; "#" is a cloud of no points.
    assert not {name for name in wrong if not name.startswith(("obj: cut", "colmap_points_text: cut at 0 %"))}


def test_bombs_are_refused_in_little_memory(tmp_path):
    todo = list(bombs())
    assert len(todo) >= 12
    verdicts = run_child(tmp_path, todo, 64)
    assert {name: verdict for name, (verdict, _) in verdicts.items() if not verdict.startswith("refused: ")} == {}
    assert {name: seconds for name, (_, seconds) in verdicts.items() if seconds > 2} == {}


edits = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "repeat"]), st.floats(0, 1), st.binary(min_size=1, max_size=9)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "exr"])
@settings(max_examples=60, deadline=2000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits)
def test_mutated_files_are_refused_or_valid(kind, changes, tmp_path):
    good = valid()[kind]
    data = good.files[good.main]
    for what, place, new in changes:
        at = int(place * len(data))
        if what == "set":
            data = data[:at] + new + data[at + len(new) :]
        elif what == "cut":
            data = data[:at] + data[at + 8 * len(new) :]
        elif what == "insert":
            data = data[:at] + new + data[at:]
        else:
            data = data[:at] + data[at // 2 : at] + data[at:]
    for name, contents in {**good.files, good.main: data}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(contents)
    with warnings.catch_warnings():
        assert read(tmp_path / good.main).startswith(("valid", "refused: "))
