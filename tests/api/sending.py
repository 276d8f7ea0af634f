"""Reports as a phone sends them."""

import uuid
from typing import Any

from fastapi.testclient import TestClient

# 50 m east and some 245 m north of the south-west corner of the nine squares: in the first one.
INSIDE = (121.4005, 31.1022)
REPORT = {
    "lon": INSIDE[0],
    "lat": INSIDE[1],
    "kind": "投诉",
    "event_type": "E0102",
    "text": "垃圾堆在小区门口",
    "reporter": {"name": "李雷", "phone": "10000000001"},
}
CALL: dict[str, Any] = {
    "number": "962000",
    "lon": INSIDE[0],
    "lat": INSIDE[1],
    "kind": "投诉",
    "event_type": "E0102",
    "text": "垃圾堆了两天",
    "caller": {"name": "李雷", "phone": "10000000001"},
}


def report(**changes: Any) -> dict[str, Any]:
    return REPORT | {"id": str(uuid.uuid4())} | changes


def send(client: TestClient, sent: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = client.post("/api/v1/reports", json=sent or report())
    assert answer.status_code in {200, 201}, answer.text
    body: dict[str, Any] = answer.json()
    return body
