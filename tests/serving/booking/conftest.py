"""A client of a desk with two vehicles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.booking.databases import drop_all
from tests.serving.booking.desks import Client, desk


@pytest.fixture(scope="session", autouse=True)
def databases() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with desk(tmp_path) as one:
        yield Client(one)
