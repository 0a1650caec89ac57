"""Settings of the audit log."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from envs.core.frozen import Frozen


class AuditSettings(Frozen):
    """Settings of an `AuditLog`.

    Attributes:
        queue_records, queue_mb: what may wait to be written; beyond either, records are lost, and that is recorded.
        segment_mb: size at which a new segment is begun; one is also begun every day (UTC), and at every start.
        sync_s: how often what was written is forced to the disk (fdatasync) and anchored; 0: after every write. A
            crash of the process loses nothing that was written, one of the machine at most this much.
        compress: whether closed segments become ``.gz``.
        keep_days: age at which closed segments are deleted; None: never.
        anchors: folder for the anchors, best on another disk; None: beside the segments.
        key: PEM file of an Ed25519 private key that signs the anchors; None: they are not signed.
        keep_bundles: whether the log keeps a copy of every bundle that acted.
    """

    queue_records: int = Field(default=10_000, ge=1)
    queue_mb: float = Field(default=64.0, gt=0)
    segment_mb: float = Field(default=16.0, gt=0)
    sync_s: float = Field(default=1.0, ge=0)
    compress: bool = True
    keep_days: float | None = Field(default=None, gt=0)
    anchors: Path | None = None
    key: Path | None = None
    keep_bundles: bool = True
