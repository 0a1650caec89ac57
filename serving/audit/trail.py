"""Interface of the audit log, by which the gateway and the console know it."""

from __future__ import annotations

from typing import Any, Protocol

from serving.audit.query import Wanted
from serving.core.events import Sink


class Trail(Sink, Protocol):
    """The audit log: a sink that can be asked."""

    @property
    def degraded(self) -> str | None:
        """Reason why it cannot write; None if it can."""
        ...

    def recent(self, wanted: Wanted, limit: int = 100) -> list[dict[str, Any]]:
        """The last entries that match, at most ``limit``, oldest first."""
        ...
