"""The OpenAPI document against the routes the application registers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import schemathesis

from engine.config import ServerConfig
from engine.transport.openapi import document
from engine.transport.routes import create_app
from tests.conftest import ROOT
from tests.e2e.testcard import CardEngine

Route = tuple[str, str]
STATIC = "/static"
"""Files of the web client are no part of the API."""


def registered() -> set[Route]:
    """What the application really answers, without the HEAD that every GET brings along."""
    engine = CardEngine()
    try:
        app = create_app(engine, ServerConfig())  # type: ignore[arg-type]
        found = set()
        for route in app.router.routes():
            path = route.resource.canonical if route.resource else ""
            if path != STATIC and route.method != "HEAD":
                # One handler serves both protocols; the document names them.
                found |= {
                    (route.method.lower(), path.replace("{protocol}", protocol))
                    for protocol in ("whip", "whep")
                }
        return found
    finally:
        engine.close()


def documented() -> set[Route]:
    """What the document says."""
    return {(method, path) for path, item in document()["paths"].items() for method in item}


def operations() -> list[tuple[str, dict[str, Any]]]:
    """Every operation with a name to tell it by."""
    return [
        (f"{method} {path}", item[method])
        for path, item in document()["paths"].items()
        for method in item
    ]


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    assert documented() == registered()


def test_the_document_is_valid_openapi() -> None:
    # Resolves every reference and reads every operation; the dictionary is checked first.
    text = json.loads(json.dumps(document()))
    schema = schemathesis.openapi.from_dict(text)
    schema.validate()
    assert len(list(schema.get_all_operations())) == len(documented())
    assert all(operation.ok() for operation in schema.get_all_operations())


@pytest.mark.parametrize(("name", "operation"), operations())
def test_parameters_are_those_of_the_path(name: str, operation: dict[str, Any]) -> None:
    in_path = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", name))


@pytest.mark.parametrize(("name", "operation"), operations())
def test_refusals_are_the_json_of_refusals(name: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status >= "400" and name != "get /readyz":
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Error"}, (name, status)
            assert "Stable words:" in response["description"], (name, status)


def test_names_of_operations_are_distinct() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))


def test_the_readable_page_tells_of_every_path() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    missing = [path for _, path in documented() if f"{path}`" not in page]
    assert missing == []
