"""Uploads of tracks that arrive together, stored in one transaction, so that they share its round trips and its commit.

Nobody waits for company: who comes first is stored at once, who comes meanwhile is stored with the next.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy.orm import Session, sessionmaker

from gis_grid.city import City
from gis_grid.track_intake import Taken, Upload, take_in_all

CHUNKS_TOGETHER = 40
TRANSACTIONS = 2  # one is made ready while the other is written down


@dataclass(frozen=True)
class _Waiting:
    upload: Upload
    answer: "Future[list[Taken]]" = field(default_factory=Future)


class JointIntake:
    """Takes in uploads from many threads."""

    def __init__(self, make: sessionmaker[Session], *, city: City) -> None:
        self._make, self._city = make, city
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._writers = ThreadPoolExecutor(TRANSACTIONS, thread_name_prefix="track-intake")

    @property
    def waiting(self) -> int:
        """How many uploads wait for those before them."""
        return len(self._waiting)

    def take_in(self, upload: Upload) -> list[Taken]:
        """What became of each chunk of an upload, once it is stored for good; what was wrong with it is raised."""
        if not upload.chunks:
            return []
        mine = _Waiting(upload)
        with self._lock:
            self._waiting.append(mine)
        self._writers.submit(self._store_waiting)
        return mine.answer.result()

    def _store_waiting(self) -> None:
        together = self._next()
        if together:
            self._store(together)

    def _next(self) -> list[_Waiting]:
        """Those that have waited longest, as many as go together: nobody where others were quicker."""
        together: list[_Waiting] = []
        with self._lock:
            while self._waiting and sum(len(one.upload.chunks) for one in together) < CHUNKS_TOGETHER:
                together.append(self._waiting.popleft())
        return together

    def _store(self, together: Sequence[_Waiting]) -> None:
        try:
            with self._make.begin() as session:
                taken = take_in_all(session, [one.upload for one in together], city=self._city)
        except Exception as error:  # noqa: BLE001 - raised again where its upload waits
            if len(together) == 1:
                together[0].answer.set_exception(error)
            else:  # nobody is refused for what came with another's
                for one in together:
                    self._store([one])
        else:
            for one, each in zip(together, taken, strict=True):
                one.answer.set_result(each)
