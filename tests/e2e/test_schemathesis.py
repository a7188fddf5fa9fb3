"""What the server answers, against what its OpenAPI document promises."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    CheckContext,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine.transport.openapi import document
from tests.badinputs.sdp import GOOD, refused
from tests.badinputs.sounds import sounds
from tests.e2e.testcard import CardEngine
from tests.e2e.threaded import served

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_TEXTS = st.sampled_from([GOOD, *(text for text, _ in refused().values())]) | st.text()
_SOUNDS = st.sampled_from([case.body for case in sounds()]) | st.binary(max_size=2000)


def raw(media_type: str, contents: st.SearchStrategy[bytes]) -> None:
    """Bodies of this type are bytes, drawn from the corpus or at random."""
    schemathesis.openapi.media_type(media_type, contents)
    schemathesis.serializer(media_type)(lambda _ctx, value: value)


raw("application/sdp", _TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
raw("application/trickle-ice-sdpfrag", _TEXTS.map(lambda text: text.encode("utf-8", "replace")))
for kind in ("audio/wav", "audio/ogg", "audio/mpeg", "audio/flac", "audio/L16", "audio/pcm"):
    raw(kind, _SOUNDS)

TOKEN = "right"  # noqa: S105 - a test's
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document())))


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with served(CardEngine(capacity=60), token=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def session(base: str) -> str:
    """A session that stays open: an id that is not drawn but real."""
    answer = requests.post(f"{base}/sessions", json={"mode": "agent"}, headers=RIGHT, timeout=10)
    assert answer.status_code == 201
    return str(answer.json()["id"])


def no_failure_of_ours(
    ctx: CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """503 with the seconds to wait is an answer; any other 5xx is a failure of the server."""
    assert response.status_code < 500 or (
        response.status_code == 503
        and (case.path == "/readyz" or "retry-after" in response.headers)
    ), f"{case.method} {case.path}: {response.status_code} {response.text[:300]}"


CHECKS = [
    no_failure_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: schemathesis.Case, base: str) -> None:
    case.call_and_validate(base_url=base, headers=RIGHT, checks=CHECKS, timeout=10)


@schema.include(path_regex=r"{id}").parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_about_a_real_session_are_as_documented(
    case: schemathesis.Case, base: str, session: str
) -> None:
    if case.operation.label in ("DELETE /sessions/{id}", "GET /sessions/{id}/events"):
        return  # the one would end it for the others, the other answers until it ends
    case.path_parameters["id"] = session
    case.call_and_validate(base_url=base, headers=RIGHT, checks=CHECKS, timeout=10)


def test_who_has_no_token_learns_nothing() -> None:
    with served(CardEngine(), token=TOKEN) as base:
        for result in schema.get_all_operations():
            operation = result.ok()
            case = operation.Case(
                path_parameters={"id": "x", "connection": "y"}, body=b"", media_type="text/plain"
            )
            response = case.call(base_url=base, timeout=10)
            if operation.definition.raw.get("security") == []:
                assert response.status_code == 200, operation.label
            else:
                assert response.status_code == 401, operation.label
                assert response.json()["error"] == "unauthorized"
