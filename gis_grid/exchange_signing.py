"""Signatures of messages between this centre and its peers: HMAC-SHA256 over time and body; pure."""

import hashlib
import hmac
import re
from datetime import datetime, timedelta

from gis_grid.errors import Forbidden

TOLERANCE = timedelta(minutes=5)
TIMESTAMP_HEADER = "X-Exchange-Timestamp"
SIGNATURE_HEADER = "X-Exchange-Signature"


class BadSignature(Forbidden):
    """The message was not signed with the peer's key, or too long ago."""


def sign(key: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The two headers that a body is sent with at a time."""
    timestamp = str(int(at.timestamp()))
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: _signature(key, timestamp, body)}


def check_signature(key: str, body: bytes, *, timestamp: str, signature: str, now: datetime) -> None:
    """Raise `BadSignature` unless a body was signed with a key within `TOLERANCE` of now."""
    if not hmac.compare_digest(_signature(key, timestamp, body).encode(), signature.encode("utf-8", "replace")):
        raise BadSignature(f"{SIGNATURE_HEADER}: not the HMAC-SHA256 of time and body with this peer's key")
    # Signed, so it is the peer's own: what is left to tell is a clock that is wrong, or a message that is played again.
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(int(timestamp) - now.timestamp()) > TOLERANCE.total_seconds():
        raise BadSignature(f"{TIMESTAMP_HEADER}: {timestamp[:20]} is more than 5 minutes from {int(now.timestamp())}")


def _signature(key: str, timestamp: str, body: bytes) -> str:
    said = timestamp.encode("utf-8", "replace") + b"." + body
    return "sha256=" + hmac.new(key.encode(), said, hashlib.sha256).hexdigest()
