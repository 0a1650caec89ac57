"""What stands in the way of people who use assistive technology."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe


def serious(page: Any, **options: Any) -> list[tuple[str, str]]:
    """What axe-core finds in the way of assistive technology: the rule, and where it is broken."""
    found = Axe().run(page, options=options).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")]
