"""Broken and hostile scene files: refused by one clear error or loaded, and nothing outside their folder is opened."""

import os
import resource
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidr.errors import FileError, TidrError
from tidr.files.scene_file import load_scene

from .scene_parts import FULL, TRANSFORMS, TRIANGLE, make_parts, message, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_parts(tmp_path)


WRONG = ["text", -1, float("nan"), float("inf"), 10**400 // 7, 1e300, [], {}, True, [[]], [1, 2], "", {"a": {"b": 1}}]


def leaves(table: dict, path: tuple = ()) -> list[tuple]:
    found = []
    for key, value in table.items():
        found.append((*path, key))
        if isinstance(value, dict):
            found += leaves(value, (*path, key))
    return found


def attempt(path: Path) -> None:
    """Load; a TidrError is as good as a scene, anything else is a failure."""
    started = time.perf_counter()
    with suppress(TidrError):
        load_scene(path)
    assert time.perf_counter() - started < 2


def test_wrong_types_everywhere(folder, f32):
    tree = tomllib.loads(FULL)
    for turn, keys in enumerate(leaves(tree)):
        for value in WRONG[turn % 3 :: 3]:
            changed = tomllib.loads(FULL)
            table = changed
            for key in keys[:-1]:
                table = table[key]
            table[keys[-1]] = value
            attempt(write(folder, tomli_w.dumps(changed)))


def test_broken_files(folder, f32):
    rng = np.random.default_rng(5)
    whole = FULL.encode()
    broken = [b"", b"\xef\xbb\xbf", b"\n" * 70_000, b"\0", whole + b"\0", whole.replace(b"\n", b"\r")]
    broken += [whole[: len(whole) * k // 11] for k in range(1, 11)]
    broken += [
        whole.replace(b"= 40", b"= " + number)
        for number in (b"nan", b"-inf", b"1e400", b"9" * 5000, b"0x" + b"f" * 999)
    ]
    broken += [rng.integers(0, 256, 2000, np.uint8).tobytes() for _ in range(10)]
    broken += [bytes(rng.choice(np.frombuffer(b"[]{}=.,\"'\n a1", np.uint8), 500)) for _ in range(40)]
    broken += [b"a = " + b"[" * 50_000, b"a = " + b"{a=" * 20_000, b"a = " + b"[" * 300 + b"]" * 300]
    broken += [b"a." * 30_000 + b"b = 1", b"[" + b"a." * 30_000 + b"b]", b'"a".' * 15_000 + b"b = 1", b"a" * 60_000]
    broken += [b"x = '" + b"y" * 100_000 + b"'", b"[film]\n[film]\n", b"[[film]]\n", b"[film]\nwidth = 1979-05-27\n"]
    for position in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(0, 8))
        broken.append(bytes(flipped))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in broken:
        attempt(write(folder, data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # kB


def test_huge_files_are_refused_before_they_are_read(folder):
    path = folder / "huge.toml"
    with open(path, "wb") as file:
        file.truncate(3 << 30)
    started = time.perf_counter()
    assert "more than the limit" in message(path)
    assert time.perf_counter() - started < 0.5


opened: list[str] = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)

OUTSIDE = [
    "../secret", "..\\secret", "./../secret", "sub/../../secret", "sub//..//..//secret", "../home/../secret",
    " ../secret", "../secret ", ".. /secret", "../../home/../secret", "{tmp}/secret", "//{tmp}/secret", "~/secret",
    "~root/secret", "file://{tmp}/secret", "file:secret", "http://example.com/secret", "C:\\secret", "c:/secret",
    "\\\\host\\share\\secret", "\\\\?\\secret", "link", "linked/secret", "loop", "", " ", ".", "..", "./", "sub",
    "pipe", "/dev/zero", "/proc/self/environ", "a\\u0000b", "a\\nb", "../secret\\u0000.obj",
]  # fmt: skip
MISSING = ["%2e%2e/secret", "\u2025/secret", "\uff0e\uff0e/secret", "..;/secret", "...", "..../secret", "a" * 300]
REFERRING = {
    "mesh": ('mesh = "duck.obj"', 'mesh = "{}"', ".obj"),
    "texture": ('texture = "paint.png", wrap', 'texture = "{}", wrap', ".png"),
    "from": ('from = "transforms.json"', 'from = "{}"', ".json"),
    "views": ('views = "transforms.json"', 'views = "{}"', ".json"),
    "targets": ('views = "transforms.json"', 'targets = {{ front = "{}" }}', ".png"),
}


@pytest.mark.parametrize("referring", REFERRING)
def test_no_name_leads_outside_the_folder(folder, tmp_path, referring, f32):
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    old, new, suffix = REFERRING[referring]
    (folder / "link").symlink_to(tmp_path / "secret")
    for name in ("secret", "secret" + suffix):
        (tmp_path / name).write_text(TRIANGLE if suffix == ".obj" else TRANSFORMS)
    (folder / f"link{suffix}").symlink_to(tmp_path / f"secret{suffix}")
    text = FULL if referring in ("views", "targets") else FULL[: FULL.index("[fit]")]
    for spelling in OUTSIDE + MISSING:
        for name in (spelling, spelling + suffix):
            spelled = name.format(tmp=tmp_path)
            spelled = spelled if "\\u" in spelled or "\\n" in spelled else spelled.replace("\\", "\\\\")
            path = write(folder, text.replace(old, new.format(spelled)))
            opened.clear()
            # A name that is merely missing will do for what only a fit reads.
            if referring not in ("views", "targets") or (spelling in OUTSIDE and name == spelling):
                with pytest.raises(FileError):
                    load_scene(path)
            else:
                attempt(path)
            assert not [item for item in opened if "secret" in item or "pipe" in item or "/dev/zero" in item]


def keys_of(values) -> st.SearchStrategy:
    names = st.sampled_from(
        ["a", "duck", "paint", "type", "mesh", "parent", "front", "position", "target", "albedo", "x.y"]
    )
    return st.dictionaries(names, values, max_size=4)


SCALARS = st.one_of(
    st.integers(-5, 5),
    st.floats(),
    st.booleans(),
    st.sampled_from(["lambert", "duck.obj", "paint.png", "point", "ambient", "a", "duck", "../x", "z"]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.lists(st.floats(-9, 9), max_size=4),
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(keys_of(inner), st.lists(inner, max_size=3)), max_leaves=6)
SECTIONS = st.sampled_from(["up", "film", "cameras", "materials", "lights", "nodes", "fit", "nods"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(SECTIONS, VALUES, max_size=5))
def test_any_toml_loads_or_is_refused(folder, f32, tree):
    try:
        text = tomli_w.dumps(tree)
    except (ValueError, TypeError, UnicodeEncodeError):
        return
    attempt(write(folder, text))
