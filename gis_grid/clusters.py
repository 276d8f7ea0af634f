"""Work on the machines of a Dask cluster, piece by piece, with results in order.

Needs the extra `[distributed]`; nothing else of the program imports this module before a cluster is asked for.

What all pieces share travels once to each worker, as a plugin, and so also to a worker that joins later or is started
again. A piece is a pure function of it: where a worker dies the scheduler has another one do the same piece, and the
result of a piece is taken once, whoever made it.
"""

import asyncio
import pickle
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from threading import Lock
from typing import Any, Protocol, TypeVar

from distributed import Client, Future, WorkerPlugin, get_worker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from gis_grid.errors import GridError, InvalidInput, Unavailable

Piece = TypeVar("Piece", contravariant=True)  # noqa: PLC0105 - the word says more than Piece_contra
Result = TypeVar("Result", covariant=True)  # noqa: PLC0105
P = TypeVar("P")
R = TypeVar("R")

CONNECT_S = 10
LONELY_S = 60.0
"""How long a cluster may have no worker at all before the work is given up."""
PIECES_A_THREAD = 2
_LOOK_S = 1.0
_SAME = ("gis-grid", "numpy", "numba", "pyarrow", "pyproj", "shapely")
"""Packages whose version can show in a result."""


class NoCluster(Unavailable):
    """No Dask scheduler, or no worker, where one was named."""


class UnlikeWorker(Unavailable):
    """A worker that could not give the result this machine would give."""


class Job(Protocol[Piece, Result]):
    """What is done to each piece; it is pickled, and so are pieces and results."""

    def check(self) -> None:
        """Pass where a piece can be worked on.

        Raises
        ------
        GridError
            It cannot, and why.
        """

    def __call__(self, piece: Piece) -> Result:
        """Result of a piece: the same on every machine."""


class Cluster:
    """A connected Dask cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def in_order(self, job: Job[P, R], pieces: Iterable[P]) -> Iterator[tuple[P, R]]:
        """Each piece with its result, in the order of the pieces; only a few are under way at a time.

        Raises
        ------
        NoCluster
            There is no worker, or the scheduler went away.
        UnlikeWorker
            A worker has another version of something, or cannot do the job: it does not see the file, say.
        """
        shared = _Shared(pickle.dumps(job, protocol=5), versions())
        self._require_like_workers(shared.versions)
        name = f"gis-grid-{secrets.token_hex(6)}"
        with _told_apart():
            self._client.register_plugin(shared, name=name)
            try:
                self._require_able_workers(name)
                yield from self._taken(name, pieces)
            finally:
                with suppress(Exception):  # the scheduler may be gone, and what went wrong before is what matters
                    self._client.unregister_worker_plugin(name)

    def _taken(self, name: str, pieces: Iterable[P]) -> Iterator[tuple[P, Any]]:
        waiting: deque[tuple[P, Future]] = deque()
        try:
            for number, piece in enumerate(pieces):
                waiting.append((piece, self._client.submit(_do, name, piece, key=f"{name}-{number}", pure=False)))
                if len(waiting) >= max(1, PIECES_A_THREAD * sum(self._client.nthreads().values())):
                    first, future = waiting.popleft()
                    yield first, self._result(future)
            while waiting:
                first, future = waiting.popleft()
                yield first, self._result(future)
        finally:
            for _, future in waiting:
                with suppress(Exception):
                    future.cancel()

    def _result(self, future: Future) -> Any:
        lonely_since = None
        while True:
            try:
                return future.result(timeout=_LOOK_S)
            except TimeoutError:
                if self._client.status != "running":
                    raise NoCluster("the Dask scheduler went away; the same command goes on where it was") from None
                if self._client.nthreads():
                    lonely_since = None
                    continue
                lonely_since = lonely_since or time.monotonic()
                if time.monotonic() - lonely_since > LONELY_S:
                    raise NoCluster(f"the Dask cluster has had no worker for {LONELY_S:.0f} s") from None

    def _require_like_workers(self, ours: dict[str, str]) -> None:
        if not self._client.nthreads():
            raise NoCluster(f"the Dask cluster at {self._client.scheduler.address} has no worker")
        for package, version in ours.items():
            theirs = self._client.run(metadata.version, package, on_error="return")
            for worker, found in theirs.items():
                if isinstance(found, Exception):
                    raise UnlikeWorker(f"worker {worker} has no {package}, this machine has {version}")
                _require_version(worker, package, found, version)

    def _require_able_workers(self, name: str) -> None:
        for worker, refusal in self._client.run(_refusal, name, on_error="return").items():
            if refusal is not None:
                raise UnlikeWorker(f"worker {worker}: {refusal}")


@contextmanager
def cluster_at(address: str) -> Iterator[Cluster]:
    """Cluster of the Dask scheduler at an address such as `tcp://10.0.0.5:8786`.

    Raises
    ------
    NoCluster
        None answers there.
    InvalidInput
        That is no address.
    """
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise NoCluster(f"no Dask scheduler answers at {address}: {_first_line(error)}") from None
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{address!r}: expected an address such as tcp://10.0.0.5:8786: {error}") from None
    with client:
        yield Cluster(client)


def versions() -> dict[str, str]:
    """Versions here of all that can show in a result."""
    return {package: metadata.version(package) for package in _SAME}


class _Shared(WorkerPlugin):  # type: ignore[misc]
    """What a worker needs for all pieces; unpickled when the first piece comes."""

    def __init__(self, pickled: bytes, versions: dict[str, str]) -> None:
        self._pickled = pickled
        self.versions = versions
        self._job: Any = None

    def setup(self, worker: Any) -> None:
        self._address = worker.address
        self._lock = Lock()

    def job(self) -> Any:
        """The job, checked once."""
        with self._lock:
            if self._job is None:
                for package, version in versions().items():
                    _require_version(self._address, package, version, self.versions[package])
                job = pickle.loads(self._pickled)  # noqa: S301 - of our own making, over the cluster's own connections
                job.check()
                self._job = job
            return self._job


def _do(name: str, piece: Any) -> Any:
    return get_worker().plugins[name].job()(piece)


async def _refusal(name: str, dask_worker: Any) -> str | None:
    """Why this worker cannot do the job, None where it can."""
    try:
        await asyncio.to_thread(dask_worker.plugins[name].job)
    except (GridError, OSError) as error:
        return str(error)
    return None


def _require_version(worker: str, package: str, theirs: str, ours: str) -> None:
    if theirs != ours:
        raise UnlikeWorker(f"worker {worker} has {package} {theirs}, this machine has {ours}: give all the same")


@contextmanager
def _told_apart() -> Iterator[None]:
    """Dask's own errors in our words."""
    try:
        yield
    except KilledWorker as error:
        raise Unavailable(
            f"one piece was on {error.last_worker.address} and others as they died: too little memory for it?"
        ) from None
    except (FutureCancelledError, CommClosedError) as error:
        raise NoCluster(f"the Dask scheduler went away: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
