"""The signed example that other systems are built by."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gis_grid.exchange_receiving import Request, read_message
from gis_grid.exchange_signing import BadSignature, check_signature, sign

PAGE = (Path(__file__).parents[1] / "docs" / "exchange.md").read_text(encoding="utf-8")


def test_the_example_is_a_message_with_the_signature_that_the_page_shows() -> None:
    (key,) = re.findall("With the key `([^`]+)`", PAGE)
    (body,) = re.findall("```json\n(.*?)\n```", PAGE)
    headers = dict(re.findall("^(X-[^:]+): (.*)$", PAGE, re.MULTILINE))
    at = datetime.fromtimestamp(int(headers["X-Exchange-Timestamp"]), UTC)

    assert sign(key, body.encode(), at=at) == headers
    assert isinstance(read_message(body.encode()), Request)


@pytest.mark.parametrize(("seconds", "is_good"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_a_signature_is_good_for_five_minutes_either_way(seconds: int, is_good: bool) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    timestamp, signature = sign("k", b"x", at=now).values()
    later = now + timedelta(seconds=seconds)

    if is_good:
        check_signature("k", b"x", timestamp=timestamp, signature=signature, now=later)
    else:
        with pytest.raises(BadSignature, match="more than 5 minutes"):
            check_signature("k", b"x", timestamp=timestamp, signature=signature, now=later)


@pytest.mark.parametrize("timestamp", ["", "x", "1e9", "-1", "9" * 400, "１２", "\ud800"])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    with pytest.raises(BadSignature):
        check_signature("k", b"", timestamp=timestamp, signature="", now=datetime(2026, 3, 2, tzinfo=UTC))
