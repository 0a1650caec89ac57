"""The audit log: every decision and every change, chained, so that what was done, and why, can be shown afterwards.

`AuditLog` writes (`log`, `writer`), `verify` checks, `query` reads, `replay` decides everything once more.
"""

from serving.audit.log import AuditLog
from serving.audit.settings import AuditSettings

__all__ = ["AuditLog", "AuditSettings"]
