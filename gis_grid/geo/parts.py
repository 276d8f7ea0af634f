"""A file written in parts that survive a kill, so that the same work started again goes on where it was."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gis_grid.errors import Conflict
from gis_grid.geo.whole_files import UnwritableFile, sync, whole_file

Note: TypeAlias = dict[str, Any]
"""What is remembered of a part: plain JSON."""

_WORK = "work.json"
_LOCK = "lock"


class AlreadyWriting(Conflict):
    """Another process writes the same file."""


@dataclass(frozen=True)
class Parts:
    """Finished parts of a file, in a hidden folder beside it.

    Attributes
    ----------
    folder
        Where they are.
    notes
        What was noted of each finished part, in order.
    """

    folder: Path
    notes: list[Note]

    def paths(self) -> list[Path]:
        """Return the finished parts, in order."""
        return [self.folder / note["name"] for note in self.notes]

    @contextmanager
    def part(self, note: Note) -> Iterator[Path]:
        """Path to write the next part to; it is finished, with what `note` says by then, when all went well."""
        name = f"{len(self.notes):06d}-{self.folder.name.removeprefix('.').removesuffix('.parts')}"
        path = self.folder / name
        path.unlink(missing_ok=True)
        yield path
        sync(path)
        self.notes.append({**note, "name": name})
        made = self.folder / f"{name}.json.new"
        made.write_text(json.dumps(self.notes[-1]))
        sync(made)
        made.replace(self.folder / f"{name}.json")
        sync(self.folder)


@contextmanager
def parts_of(target: Path, work: Note, join: Callable[[Sequence[Path], Path], None]) -> Iterator[Parts]:
    """Parts of `target`, with those of the same work that was killed; joined to the target when all went well.

    Parameters
    ----------
    work
        What the content follows from. Parts of any other work are thrown away.
    join
        Writes parts, in order, to a new file.

    Raises
    ------
    AlreadyWriting
        Another process is at it.
    UnwritableFile
        The folder cannot be written to.
    """
    target = Path(os.path.realpath(target))
    folder = target.with_name(f".{target.name}.parts")
    try:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnwritableFile(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise AlreadyWriting(f"{target}: another process is writing it") from None
    try:
        parts = _found(folder, work)
        yield parts
        with whole_file(target) as path:
            if not _is_named(parts.paths(), path):
                join(parts.paths(), path)
    except Exception:  # an interrupt or a kill leaves the parts
        shutil.rmtree(folder)
        raise
    else:
        shutil.rmtree(folder)
    finally:
        os.close(lock)


def _found(folder: Path, work: Note) -> Parts:
    """The parts in a folder that are of this work, up to the first that is missing."""
    told = folder / _WORK
    if told.is_file() and told.read_text() == json.dumps(work):
        notes = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path != told]
        return Parts(folder, notes)
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()
    told.write_text(json.dumps(work))
    return Parts(folder, [])


def _is_named(parts: Sequence[Path], path: Path) -> bool:
    """Give a single part a second name, which costs nothing; False where there are several, or no such names."""
    if len(parts) != 1:
        return False
    try:
        path.hardlink_to(parts[0])
    except OSError:
        return False
    return True


def join_bytes(parts: Sequence[Path], path: Path) -> None:
    """Write the bytes of `parts`, in order, to a new file."""
    with path.open("xb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, 2**24)
