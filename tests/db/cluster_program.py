"""A program that uses an embedded cluster, told what to do line by line, so that tests can kill it."""

import signal
import sys
from pathlib import Path

import sqlalchemy as sa

from gis_grid.embedded import EmbeddedPostgis


def answer(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background passes on "ignore"
    server = EmbeddedPostgis(Path(folder))
    for line in sys.stdin:
        match line.split():
            case ["start"]:
                server.start()
                server.ensure_database()
                answer("started")
            case ["ensure"]:
                answer("brought back" if server.ensure_running() else "left alone")
            case ["add", word]:
                engine = sa.create_engine(server.url())
                with engine.begin() as connection:
                    connection.execute(sa.text("create table if not exists words (word text)"))
                    connection.execute(sa.text("insert into words values (:word)"), {"word": word})
                engine.dispose()
                answer("added")
            case ["stop"]:
                answer("stopped" if server.stop() else "in use")


if __name__ == "__main__":
    main(sys.argv[1])
