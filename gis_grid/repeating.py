"""Work that is done again and again in the background, for as long as something else runs."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def repeating(
    name: str, work: Callable[[], object], *, every_s: float, patience_s: float | None = None
) -> Iterator[None]:
    """A thread does the work at once and then every so often, all the while, whatever one time may meet.

    At the end it is waited for, `patience_s` at most.
    """
    is_over = threading.Event()

    def run() -> None:
        while True:
            try:
                work()
            except Exception:
                if not is_over.is_set():
                    log.exception("%s failed and is tried again in %g s", name, every_s)
            if is_over.wait(every_s):
                return

    worker = threading.Thread(target=run, name=name, daemon=True)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join(patience_s)
