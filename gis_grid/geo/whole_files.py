"""Files that appear whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gis_grid.errors import InvalidInput


class UnwritableFile(InvalidInput):
    """A file that cannot be written where it is to be."""


@contextmanager
def whole_file(target: Path, *, is_private: bool = False) -> Iterator[Path]:
    """Path to write to that becomes `target` when all went well, and vanishes when not.

    The file is synced before it takes the name, so that the name never stands for half a file. The path keeps the
    suffix, by which some writers choose their format. A private file is there from the start, and nobody but its owner
    can read it.

    Raises
    ------
    UnwritableFile
        The folder cannot be written to.
    """
    target = Path(os.path.realpath(target))  # a link stays: what it points to is replaced
    temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    try:
        temporary.touch(0o600)  # says at once what a long job would only find at its end
        if not is_private:
            temporary.unlink()
    except OSError as error:
        raise UnwritableFile(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        if is_private:
            temporary.chmod(0o600)
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{temporary}{suffix}").unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make a file, and its companions, beside `path`, and put them in place once they are whole.

    Raises
    ------
    UnwritableFile
        The system does not let it be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            made = Path(folder) / path.name
            write(made)
            # The file that names the layer comes last: until then a reader finds the old one.
            for file in sorted(Path(folder).iterdir(), key=lambda file: file == made):
                sync(file)
                file.replace(path.parent / file.name)
        sync(path.parent)
    except OSError as error:
        raise UnwritableFile(f"{path} cannot be written: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
