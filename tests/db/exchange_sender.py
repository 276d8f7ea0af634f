"""Processes that send what is due to 110 and may be killed: DATABASE_URL PEER_URL KEY NOW PID_FILE.

One follows the other until one has come to its end; how each ended is printed.
"""

import os
import sys
from datetime import datetime
from pathlib import Path

from gis_grid.city import load_city
from gis_grid.database import connect, sessions
from gis_grid.exchange_peers import Peer
from gis_grid.exchange_receiving import Place
from gis_grid.exchange_sending import send_next


def send(url: str, peer: Peer, now: datetime) -> None:
    factory = sessions(connect(url))
    place = Place(load_city(), 50.0, Path())
    sent = True
    while sent:
        with factory.begin() as session:
            sent = send_next(session, "110", peer, place=place, now=now) is not None


url, peer_url, key, now, pid_file = sys.argv[1:]
code = -1
while code:
    pid = os.fork()
    if not pid:
        Path(pid_file).write_text(str(os.getpid()), encoding="ascii")
        send(url, Peer(url=peer_url, key=key), datetime.fromisoformat(now))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(code)  # noqa: T201 - the test reads it
