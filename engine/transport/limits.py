"""How often a client may ask: token buckets, a pure core with an injected clock."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass

from engine.clock import Clock
from engine.config import ServerConfig

_MOST_KEYS = 10_000
"""Clients remembered; the one not seen for longest is forgotten first."""
_EVERYONE = 10
"""All holders of the token together may ask this many times as often as one address."""
FAILURES = (20, 6.0)
"""Wrong tokens from one address: at once, and per minute from then on."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """Token buckets of one size, one per key.

    A bucket holds ``burst`` tokens and gets ``per_minute`` back in a minute; each request takes
    one.

    Args:
        burst: requests at once.
        per_minute: requests in a minute, on average; 0 switches the limit off.
        clock: monotonic.
        most: keys remembered.
    """

    def __init__(
        self, burst: float, per_minute: float, clock: Clock, most: int = _MOST_KEYS
    ) -> None:
        self._burst, self._rate = float(burst), per_minute / 60
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: str) -> float:
        """Seconds until this key may ask again; 0: now. Takes nothing."""
        if not self._rate or key not in self._buckets:
            return 0.0
        missing = 1 - self._filled(key).left
        return max(0.0, missing / self._rate)

    def take(self, key: str) -> float:
        """Take a token; seconds to wait if there is none (then nothing is taken)."""
        if not self._rate:
            return 0.0
        bucket = self._filled(key)
        if bucket.left < 1:
            return (1 - bucket.left) / self._rate
        bucket.left -= 1
        return 0.0

    def _filled(self, key: str) -> _Bucket:
        now = self._clock.now()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return bucket


class Limits:
    """The server's limits: uploads, new sessions, everything else, and wrong tokens.

    Programs on this machine are not limited (except for wrong tokens): who can start them can do
    worse. Behind a proxy, which makes everybody look local, the forwarded address counts.

    Args:
        config: rates per address and minute.
        clock: monotonic.
    """

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        rates = {
            "upload": config.rate_uploads,
            "session": config.rate_sessions,
            "other": config.rate_requests,
        }
        self._address = {kind: Buckets(n, n, clock) for kind, n in rates.items()}
        everyone = {kind: n * _EVERYONE for kind, n in rates.items()}
        self._token = {kind: Buckets(n, n, clock) for kind, n in everyone.items()}
        self._failures = Buckets(*FAILURES, clock)

    def ask(self, kind: str, client: str, holds_token: bool) -> int:
        """Whole seconds to wait before a request of this kind; 0: go on."""
        if is_local(client):
            return 0
        wait = self._address[kind].take(client)
        if not wait and holds_token:
            wait = self._token[kind].take("")
        return math.ceil(wait)

    def blocked(self, client: str) -> int:
        """Whole seconds to wait after too many wrong tokens; 0: go on."""
        return math.ceil(self._failures.wait(client))

    def failed(self, client: str) -> None:
        """A wrong token came from there."""
        self._failures.take(client)


def kind_of(method: str, path: str) -> str:
    """Which limit a request falls under: ``upload``, ``session`` or ``other``."""
    if method != "POST":
        return "other"
    if path == "/avatars":
        return "upload"
    whole = path in ("/offer", "/sessions", "/whip")
    return "session" if whole or path.startswith(("/whip/", "/whep/")) else "other"


def client_of(remote: str | None, forwarded: str) -> str:
    """The address that counts: IPv6 by its /64, of which one subscriber has all.

    Args:
        remote: the connection's other end.
        forwarded: ``X-Forwarded-For`` when a trusted proxy is in front, else empty: its last entry
            is the one that the proxy itself has seen, the others are hearsay.
    """
    last = forwarded.rpartition(",")[2].strip()
    for text in (last, remote or ""):
        try:
            address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        if address.is_loopback:
            return str(address)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return "unknown"


def is_local(client: str) -> bool:
    """Whether a client (as ``client_of`` names it) is on this machine."""
    try:
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False
