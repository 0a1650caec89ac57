"""The audit log: every decision and every change, chained, so that actions and their reasons can be shown afterwards.

`AuditLog` writes (`log`, `writer`), `verify` checks, `query` reads, `replay` decides everything once more.
"""

from serving.audit.log import AuditLog
from serving.audit.settings import AuditSettings

__all__ = ["AuditLog", "AuditSettings"]
