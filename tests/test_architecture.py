"""The house plan holds, and nothing in the tree points to somebody's machine or to a registry."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    return [path for name in names if name and (path := ROOT / name.decode()).is_file()]


def test_imports_point_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([lint, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_no_lock_file_names_a_registry() -> None:
    locks = [path for path in tracked() if path.name == "package-lock.json" or path.suffix == ".lock"]

    named = [path.name for path in locks if re.search(r"https?://(?!opencollective|github|tidelift)", path.read_text())]

    assert locks
    assert named == []


def test_no_module_grows_past_six_hundred_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in tracked() if path.suffix == ".py"}

    assert lengths
    assert {name: length for name, length in lengths.items() if length > 600} == {}
