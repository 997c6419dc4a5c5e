"""What is installed is what the folders hold, and tidr starts without loading what it does not need."""

import subprocess
import sys
import tomllib
from pathlib import Path

import tidr

ROOT = Path(__file__).parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_code_is_a_package_that_is_installed():
    tool = project()["tool"]["setuptools"]
    folders = {path.parent for root in ("tidr", "kernels", "cli", "scenes") for path in (ROOT / root).rglob("*.py")}
    names = {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders}
    expected = {name if name.split(".")[0] == "tidr" else f"tidr.{name}" for name in names}
    assert set(tool["packages"]) == expected
    for package, folder in tool["package-dir"].items():
        assert package == "tidr." + folder.replace("/", ".")


def test_scene_assets_are_package_data():
    patterns = project()["tool"]["setuptools"]["package-data"]["tidr.scenes"]
    covered = {path for pattern in patterns for path in (ROOT / "scenes").glob(pattern)}
    files = {path for path in (ROOT / "scenes").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files <= covered


def test_the_tracked_tree_stays_small():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        sizes = [(ROOT / name).stat().st_size for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
        assert sum(sizes) < 6_000_000


def test_version_agrees():
    assert project()["project"]["version"] == tidr.__version__


def test_importing_tidr_loads_nothing_heavy():
    code = (
        "import sys, tidr; print([name for name in ('taichi', 'numpy', 'trimesh', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_kernels_refuse_to_be_imported_by_their_folder_name():
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "import tidr.kernels" in done.stderr


def test_every_public_name_can_be_had():
    for name in tidr.__all__:
        assert getattr(tidr, name) is not None
