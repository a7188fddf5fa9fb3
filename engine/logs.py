"""Logs for people (text) or for programs (one JSON object a line), without secrets.

What belongs into a log: what happened, to which session (the first six characters of its id, which
is a capability), and why. Tokens, whole ids, session descriptions, credentials of TURN servers and
photos never do; as a second net, the secrets known at start are struck out of whatever is written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

FORMATS = ("text", "json")
_TEXT = "%(levelname)s %(name)s: %(message)s"
_CHATTY = ("aioice", "aiortc", "asyncio")
"""Their lower levels show packets, addresses and credentials of peers."""
_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s\"',]+")
_HIDDEN = "***"


class _Redacting(logging.Formatter):
    """Strikes secrets out of what another formatter wrote, tracebacks included."""

    def __init__(self, inner: logging.Formatter, secrets: Sequence[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        """The line without secrets."""
        line = self._inner.format(record)
        for secret in self._secrets:
            # As JSON writes it, too: quotes and letters beyond ASCII look different there.
            for form in {secret, json.dumps(secret)[1:-1]}:
                line = line.replace(form, _HIDDEN)
        return _BEARER.sub(rf"\1{_HIDDEN}", line)


def _without_quotes(record: logging.LogRecord) -> bool:
    """aiohttp reports a malformed request as an error of ours and quotes it: not here."""
    problem = record.exc_info[1] if record.exc_info else None
    if type(problem).__module__ == "aiohttp.http_exceptions":
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "a malformed request was refused: %s", (type(problem).__name__,)
        record.exc_info = record.exc_text = None
        return logging.getLogger().isEnabledFor(logging.INFO)
    return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, and what ``extra=`` of
    the logging call adds; a session's id is cut to its first six characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in record.__dict__.items():
            if name not in _KNOWN and name not in fields:
                fields[name] = value if isinstance(value, int | float | bool) else str(value)
        if "session" in fields:
            fields["session"] = str(fields["session"])[:6]
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class _AboutSession(logging.LoggerAdapter[logging.Logger]):
    """Says in the text which session is meant, and in a field of its own for programs."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """The message and what goes with it."""
        name = (self.extra or {})["session"]
        return f"session {name}: {msg}", {**kwargs, "extra": {"session": name}}


def about_session(log: logging.Logger, name: str) -> logging.LoggerAdapter[logging.Logger]:
    """A logger whose lines are about one session; ``name`` is its whole id."""
    return _AboutSession(log, {"session": name[:6]})


def configure(
    level: str, form: str, secrets: Sequence[str] = (), stream: TextIO | None = None
) -> None:
    """Send the program's logs to a stream.

    Args:
        level: debug, info, warning or error.
        form: text or json.
        secrets: struck out wherever they occur.
        stream: standard error without.
    """
    inner = JsonFormatter() if form == "json" else logging.Formatter(_TEXT)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Redacting(inner, secrets))
    handler.addFilter(_without_quotes)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
