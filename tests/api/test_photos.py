import io
import struct
import uuid
import zlib
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from gis_grid.installation import Installation
from tests.api.sending import report, send
from tests.builders import STAFF


def photo(form: str = "JPEG", *, size: tuple[int, int] = (64, 48), colour: str = "red", place: bool = False) -> bytes:
    data = io.BytesIO()
    image = Image.new("RGB", size, colour)
    exif = Image.Exif()
    if place:
        exif[0x0112] = 6  # turned by 90 degrees
        exif.get_ifd(0x8825)[2] = (31.0, 6.0, 7.0)
        exif[0x010F] = "SecretPhone"
    image.save(data, form, exif=exif)
    return data.getvalue()


def add(client: TestClient, id_: str, data: bytes, headers: dict[str, str]) -> Any:
    return client.post(f"/api/v1/reports/{id_}/photos", files={"photo": ("p.jpg", data)}, headers=headers)


def token(answer: dict[str, Any]) -> dict[str, str]:
    return {"X-Upload-Token": answer["upload_token"]}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_comes_back_to_staff_byte_for_byte(client: TestClient, form: str) -> None:
    sent, data = send(client), photo(form)

    stored = add(client, sent["id"], data, token(sent))

    assert (stored.status_code, stored.json()["width_px"]) == (201, 64)
    assert client.get(stored.json()["url"], headers=STAFF).content == data


def test_an_iphones_multi_picture_file_counts_as_a_jpeg(client: TestClient) -> None:
    sent, data = send(client), io.BytesIO()
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    first.save(data, "MPO", save_all=True, append_images=[second])

    answer = add(client, sent["id"], data.getvalue(), token(sent))

    assert (answer.status_code, answer.json()["media_type"]) == (201, "image/jpeg")


def test_the_reporter_gets_a_copy_without_place_and_camera_turned_upright(client: TestClient) -> None:
    sent = send(client)
    url = add(client, sent["id"], photo(place=True), token(sent)).json()["url"]

    copy = client.get(url, headers=token(sent))

    image = Image.open(io.BytesIO(copy.content))
    assert (dict(image.getexif()), image.size, b"SecretPhone" in copy.content) == ({}, (48, 64), False)


def test_nobody_else_sees_or_adds_photos(client: TestClient) -> None:
    mine, other = send(client), send(client)
    url = add(client, mine["id"], photo(), token(mine)).json()["url"]

    answers = [
        client.get(url),
        client.get(url, headers=token(other)),
        add(client, mine["id"], photo(), token(other)),
        add(client, mine["id"], photo(), {}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4


def test_the_same_photo_sent_again_is_stored_once(client: TestClient, installation: Installation) -> None:
    sent = send(client)

    first, again = (add(client, sent["id"], photo(), token(sent)).json() for _ in range(2))

    assert first == again
    assert len([path for path in installation.photos.rglob("*") if path.is_file()]) == 1


def test_a_seventh_photo_is_refused(client: TestClient) -> None:
    sent = send(client)
    colours = ("red", "blue", "green", "white", "black", "yellow", "pink")

    answers = [add(client, sent["id"], photo(colour=colour), token(sent)).status_code for colour in colours]

    assert answers == [201] * 6 + [409]


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 30_001))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"<svg onload=alert(1)>", photo()[:200], photo("PNG")[:70], bomb(), photo("GIF"), b"\0" * 1000],
    ids=["empty", "gif head", "svg", "half a jpeg", "cut png", "bomb", "gif", "zeros"],
)
def test_what_is_no_whole_photo_is_refused_and_not_stored(
    client: TestClient, installation: Installation, data: bytes
) -> None:
    sent = send(client)

    answer = add(client, sent["id"], data, token(sent))

    assert (answer.status_code, "photo" in answer.json()["message"]) == (422, True)
    assert not [path for path in installation.photos.rglob("*") if path.is_file()]


def test_a_photo_over_ten_megabytes_is_refused(client: TestClient) -> None:
    sent = send(client)

    answers = [add(client, sent["id"], b"\xff\xd8" * size, token(sent)).status_code for size in (5_500_000, 6_000_000)]

    assert answers == [422, 413]


def test_a_photo_needs_a_report(client: TestClient) -> None:
    assert add(client, str(uuid.uuid4()), photo(), STAFF).status_code == 404


def test_staff_see_a_reports_photos_listed_and_the_public_do_not(client: TestClient) -> None:
    sent = send(client, report())
    add(client, sent["id"], photo(), token(sent))

    staff, public = (
        client.get(f"/api/v1/reports/{sent['id']}", headers=headers).json()["properties"] for headers in (STAFF, {})
    )

    assert (len(staff["photos"]), "photos" in public) == (1, False)
