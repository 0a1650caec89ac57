"""Documentation that the service sends: security schemes in OpenAPI, and the page at ``/docs``, made from OpenAPI.

FastAPI's own page loads its scripts from a public network. A control room may have none, so this one is plain HTML.
"""

from __future__ import annotations

from html import escape
from typing import Any

import orjson
from fastapi import FastAPI

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}"
    "h2{border-top:1px solid #d5dce3;padding-top:1rem}code{font-weight:600}"
    "pre{background:#f3f6f9;padding:1rem;overflow:auto}summary{cursor:pointer}"
)


KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key of `cityloop keys create`, or a signed token"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same"},
}
"""Security schemes of OpenAPI."""

PUBLIC = ("/healthz", "/readyz")
"""Paths that are answered without a key; with one, in more detail."""


def tell_of_keys(app: FastAPI) -> None:
    """Add the security schemes to the description of a service that has keys."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            found["components"]["securitySchemes"] = KEYS
            found["security"] = [{name: []} for name in KEYS]
            for path in PUBLIC:
                found["paths"][path]["get"]["security"] = [{}, *found["security"]]
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def docs_page(openapi: dict[str, Any]) -> str:
    """The description as one HTML page that needs nothing else."""
    info = openapi["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>", f"<p>{escape(info['description'])}</p>"]
    parts.append('<p>For machines: <a href="/openapi.json">/openapi.json</a></p>')
    for path, verbs in openapi["paths"].items():
        parts += [_operation(path, verb, operation) for verb, operation in verbs.items()]
    parts.append("<h2>Models</h2>")
    models = openapi.get("components", {}).get("schemas", {})
    parts += [f'<details id="{escape(name)}">{_block(name, schema)}</details>' for name, schema in models.items()]
    title = escape(info["title"])
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _operation(path: str, verb: str, operation: dict[str, Any]) -> str:
    text = (
        f"<h2><code>{escape(verb.upper())} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>"
    )
    if "requestBody" in operation:
        text += f"<details>{_block('Request', operation['requestBody'])}</details>"
    for status, answer in operation["responses"].items():
        title = f"{status} {answer.get('description', '')}"
        text += f"<details>{_block(title, answer.get('content', {}))}</details>"
    return text


def _block(title: str, content: Any) -> str:
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
    return f"<summary>{escape(title)}</summary><pre>{escape(text)}</pre>"
