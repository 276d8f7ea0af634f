"""Whatever the published schema allows or forbids: never a 500, and never an answer that is no JSON."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis.generation import GenerationMode
from schemathesis.python.asgi import get_client

from api.app import create_app
from gis_grid.informants import new_key
from gis_grid.installation import Installation
from tests.builders import STAFF

WALKED = "^/(api/(?!v1/events)|healthz)"  # a stream of events never ends
SETTINGS = settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
)


def test_no_request_that_can_be_made_up_breaks_the_service(
    installation: Installation, clock: Callable[[], datetime]
) -> None:
    installation.settings.informant_keys = (SecretStr(new_key()),)  # without one, tip-offs are answered by 503
    app = create_app(installation, clock=clock)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.include(path_regex=WALKED).get_all_operations()]
    seen: set[int] = set()

    def send(case: schemathesis.Case) -> None:
        answer = case.call(session=client, headers=STAFF)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        seen.add(answer.status_code)

    with get_client(app, max_stream_events=None) as client:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                fuzz = given(case=operation.as_strategy(generation_mode=mode))(send)
                with suppress(Unsatisfiable):  # an operation without parameters has no wrong ones
                    SETTINGS(fuzz)()

    assert len(operations) >= 12
    assert {200, 404, 422} <= seen
