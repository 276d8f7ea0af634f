"""People at work on cases over real HTTP: each signs in once, then works on cases of their own and on shared ones."""

import http.client
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from PIL import Image
from sqlalchemy.dialects.postgresql import Range

from gis_grid.accounts import Account, RoleGrant
from gis_grid.installation import Installation, utc_now
from gis_grid.permissions import Role

PASSWORD = "benchmark horse 12"
ROLES = (Role.OPERATOR, Role.GRID_MANAGER, Role.DISPATCHER, Role.HANDLER, Role.CHECKER)
SHARED = 12  # cases that everybody works on
TURNS_ON_SHARED = 0.4
ROOT = Path(__file__).parents[1]


@dataclass
class Worked:
    """What the clients saw."""

    acknowledged: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def work(installation: Installation, *, clients: int, seconds: float, workers: int) -> Worked:
    """Serve the installation from another process and let so many people work at once; prints what they saw."""
    logins = _add_accounts(installation, clients)
    points = _points(installation)
    worked = Worked()
    with Served(installation, workers=workers) as served:
        start = threading.Barrier(clients + 1)
        people = [_Person(login, served.port, worked, points=points, start=start, seconds=seconds) for login in logins]
        threads = [threading.Thread(target=person.run, daemon=True) for person in people]
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        lasted = time.perf_counter() - began
    _print(worked, lasted, clients)
    return worked


def _add_accounts(installation: Installation, count: int) -> list[str]:
    now = utc_now()
    logins = [f"bench-{uuid.uuid4().hex[:8]}-{number}" for number in range(count)]
    hashed = installation.passwords.hash(PASSWORD)  # one for all: to hash is slow on purpose
    with installation.sessions.begin() as session:
        accounts = [Account(login=login, password_hash=hashed, created_at=now, is_synthetic=True) for login in logins]
        session.add_all(accounts)
        session.flush()
        valid = Range(now - timedelta(minutes=1), None)
        session.add_all(
            RoleGrant(account_id=account.id, role=role.value, scope_kind="all", scope_code="", valid=valid)
            for account in accounts
            for role in ROLES
        )
    return logins


def _points(installation: Installation) -> list[tuple[float, float, str]]:
    query = "select ST_X(p), ST_Y(p), left(code, 9) from (select ST_PointOnSurface(geom) as p, code from grids) g"
    with installation.sessions() as session:
        return [(lon, lat, town) for lon, lat, town in session.execute(sa.text(query))]


class Served:
    """`gis-grid serve` on the same data, in processes of its own, as long as it is entered."""

    port = 0

    def __init__(self, installation: Installation, *, workers: int) -> None:
        self._data, self._workers = installation.settings.data, workers

    def __enter__(self) -> Self:
        words = [sys.executable, "-c", "from gis_grid.cli import main; main()", "serve", "--port", "0"]
        words += ["--workers", str(self._workers)]
        environment = os.environ | {
            "GIS_GRID_DATA": str(self._data),
            "GIS_GRID_SIGN_INS_PER_QUARTER_HOUR": "100000",  # all clients have one address
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r":(\d+)/$", line.strip()):
                self.port = int(found[1])
                return self
        raise RuntimeError("the service did not start")

    @property
    def pid(self) -> int:
        """Of the process that the others are children of."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


class _Person:
    """One client: a connection of their own that is kept, and a case of their own that they take on."""

    def __init__(
        self, login: str, port: int, worked: Worked, *, points: list[Any], start: threading.Barrier, seconds: float
    ) -> None:
        self._login, self._worked, self._points, self._start, self._seconds = login, worked, points, start, seconds
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._rng = random.Random(login)
        self._headers = {"Content-Type": "application/json"}

    def run(self) -> None:
        try:
            _, signed_in = self._ask("sign in", "POST", "/sign-in", {"login": self._login, "password": PASSWORD})
            self._headers["Authorization"] = f"Bearer {signed_in['token']}"
            self._connection.close()  # it is opened again; until all have signed in the server would end it
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
            self._note(f"{self._login}: sign-in: {error!r}")
        self._start.wait()
        until = time.perf_counter() + self._seconds
        try:
            while time.perf_counter() < until:
                self._turn()
        except Exception as error:  # noqa: BLE001
            self._note(f"{self._login}: {error!r}")

    def _turn(self) -> None:
        worked = self._worked
        if self._rng.random() < TURNS_ON_SHARED and worked.shared:
            self._next_step(self._rng.choice(worked.shared))
            return
        name = self._open()
        if name is None:
            return
        for _ in range(self._rng.randrange(1, 6)):
            self._next_step(name)
        with worked.lock:
            if len(worked.shared) < SHARED:
                worked.shared.append(name)
            else:
                worked.shared[self._rng.randrange(SHARED)] = name

    def _open(self) -> str | None:
        lon, lat, _ = self._rng.choice(self._points)
        said = {"lon": lon, "lat": lat, "kind": "投诉", "event_type": "E0102", "text": "垃圾堆了两天"}
        if self._rng.random() < 0.5:
            call = said | {"number": "962000", "is_other": True, "caller": {"name": "李雷"}}
            status, taken = self._ask("take a call", "POST", "/hotline/calls", call, rows=2)
            return taken["case"]["serial"] if status == 201 else None
        report_id = str(uuid.uuid4())
        status, _ = self._ask("report", "POST", "/reports", said | {"id": report_id})
        if status != 201:
            return None
        opened = {"report_id": report_id, "file": True}
        status, case = self._ask("accept and file", "POST", "/cases", opened, rows=2)
        return case["serial"] if status == 201 else None

    def _next_step(self, name: str) -> None:
        status, case = self._ask("look", "GET", f"/cases/{name}")
        step = self._step_after(case) if status == 200 else None
        if step is not None:
            asked = step | {"expected_seq": case["seq"]}
            self._ask(step["action"], "POST", f"/cases/{name}/steps", asked, rows=1)

    def _step_after(self, case: dict[str, Any]) -> dict[str, Any] | None:  # noqa: C901, PLR0911 - one a stage
        duty = {"duty": "快速处置"} if case["level"] == "community" else {}
        match case["stage"]:
            case "filed" if case["level"] == "community":
                if not case["attempts"]:
                    return {"action": "attempt", "duty": "宣传劝阻", "text": "上门劝阻"}
                if self._rng.random() < 0.3:
                    return {"action": "take", "duty": "快速处置"}
                return {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效"}
            case "filed" | "returned" if case["returns"] < 3:
                unit = f"team-chengguan-{case['grid_code'][:9]}"
                return {"action": "dispatch", "unit": unit, "reason": "就近"}
            case "dispatched":
                if self._rng.random() < 0.1:
                    return {"action": "return", "reason_code": "属地不符", "text": "不在辖区"}
                return {"action": "take"} | duty
            case "taken" | "rework" if f"user:{self._login}" not in case["checkers"]:
                photo = self._photo(case["report_id"])
                return {"action": "handle", "text": "清理完毕", "after_photo": photo} | duty if photo else None
            case "handled" if f"user:{self._login}" not in case["handlers"]:
                result = "pass" if self._rng.random() < 0.8 else "fail"
                return {"action": "check", "result": result, "text": "到场看过", "confirms_photo": True}
            case "checked":
                return {"action": "answer", "text": "已电话告知", "satisfaction": "满意"}
            case "answered":
                return {"action": "close"}
        return None

    def _photo(self, report_id: str) -> str | None:
        data = io.BytesIO()
        Image.new("RGB", (64, 48), tuple(self._rng.randrange(256) for _ in range(3))).save(data, "JPEG")
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        body = head.encode() + data.getvalue() + f"\r\n--{edge}--\r\n".encode()
        kind = f"multipart/form-data; boundary={edge}"
        status, photo = self._ask("add a photo", "POST", f"/reports/{report_id}/photos", body, kind=kind)
        return photo["sha256"] if status == 201 else None

    def _ask(
        self, name: str, method: str, path: str, body: Any = None, *, rows: int = 0, kind: str = "application/json"
    ) -> tuple[int, Any]:
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        started = time.perf_counter()
        self._connection.request(method, f"/api/v1{path}", sent, self._headers | {"Content-Type": kind})
        answer = self._connection.getresponse()
        said = answer.read()
        lasted = time.perf_counter() - started
        worked = self._worked
        with worked.lock:
            worked.statuses[name, answer.status] += 1
            worked.seconds[name].append(lasted)
            if 200 <= answer.status < 300:
                worked.acknowledged += rows
            elif answer.status != 409:
                worked.wrong.append(f"{name} {answer.status}: {said[:300].decode()}")
        return answer.status, json.loads(said)

    def _note(self, fault: str) -> None:
        with self._worked.lock:
            self._worked.wrong.append(fault)


def _print(worked: Worked, lasted: float, clients: int) -> None:
    requests = sum(worked.statuses.values()) - clients
    conflicts = sum(count for (_, status), count in worked.statuses.items() if status == 409)
    print(
        f"\n{clients} clients, {lasted:.0f} s: {requests:,} requests, {requests / lasted:,.0f} a second; "
        f"{worked.acknowledged:,} steps, {worked.acknowledged / lasted:,.0f} a second; {conflicts:,} conflicts, "
        f"{len(worked.wrong)} wrong answers\n"
    )
    print(f"| request | answers | median ms | 95 % | 99 % | worst |\n|---|{'---:|' * 5}")
    for name, seconds in sorted(worked.seconds.items()):
        cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
        numbers = (statistics.median(seconds), cuts[94], cuts[98], max(seconds))
        counts = " ".join(f"{status}: {n:,}" for (one, status), n in sorted(worked.statuses.items()) if one == name)
        print(f"| {name} | {counts} | {' | '.join(f'{1000 * number:,.0f}' for number in numbers)} |")
