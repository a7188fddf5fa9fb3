"""What a session tells those who follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something has happened.

    Args:
        kind: stable word; docs/api.md lists them.
        fields: JSON values.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
