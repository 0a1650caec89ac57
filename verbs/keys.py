"""``cityloop keys``: API keys of a service, with their roles, sites and expiry."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from envs import CityloopError
from serving.access.keys import create_key, load_keys, parse_grants, parse_life, revoke_key
from verbs import AsJson
from verbs.terminal import Output, table

app = typer.Typer(help="Keys of the service: who may do what, where, and until when.", no_args_is_help=True)

KeyFile = Annotated[
    Path, typer.Option("--file", "-f", envvar="CITYLOOP_KEYS", help="The file of keys; the service's --keys.")
]


@app.command("create", epilog="Example: cityloop keys create gates-plc --role act --system drainage --expires 90d")
def create(
    name: Annotated[str, typer.Argument(help="Who it is for, as the audit log will say.", show_default=False)],
    role: Annotated[
        str | None,
        typer.Option(help="read, act, operate or administer; each includes those before it.", show_default="read"),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Where: a system, or a pattern such as *.", show_default="*")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Where: a site, or a pattern such as north-*.", show_default="*")
    ] = None,
    grant: Annotated[
        list[str] | None, typer.Option(metavar="ROLE:SYSTEM/SITE", help="Several roles at several places, instead.")
    ] = None,
    expires: Annotated[str, typer.Option(help="How long it is accepted, e.g. 12h, 90d, or never.")] = "365d",
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Requests per second that are allowed.", show_default="the service's"),
    ] = None,
    file: KeyFile = Path("keys.json"),
    as_json: AsJson = None,
) -> None:
    """Make a key and print it, once."""
    output = Output(as_json, private=True)
    if grant:
        for option, value in {"role": role, "system": system, "site": site}.items():
            if value is not None:
                raise CityloopError(
                    f"--{option} is {value!r}, and --grant says who may do what where: give one of them"
                )
    grants = parse_grants(grant or [f"{'read' if role is None else role}:{system or '*'}/{site or '*'}"])
    token, key = create_key(file, name, grants, parse_life(expires), rate)
    ends = "until it is revoked" if key.expires is None else f"until {key.expires:%Y-%m-%d %H:%M} UTC"
    # The key alone on standard output, so that it can be put where it is needed.
    print(f"key of {name}, {ends}; it is shown only now, and kept as a hash in {file}", file=sys.stderr)
    if as_json is None:
        print(token)
    output.emit({"key": token, **key.plain()})


@app.command("list", epilog="Example: cityloop keys list --json")
def list_(file: KeyFile = Path("keys.json"), as_json: AsJson = None) -> None:
    """Show the keys, without the keys."""
    output = Output(as_json)
    found = [key.plain() | {"accepted": key.ends_s() > time.time()} for key in load_keys(file).keys]
    rows = [
        (
            one["name"],
            ", ".join(f"{g['role']} {g['system']}/{g['site']}" for g in one["grants"]),
            one["created"][:10],
            (one["expires"] or "never")[:10],
            "yes" if one["accepted"] else "revoked" if one["revoked"] else "expired",
        )
        for one in found
    ]
    output.show(table(str(file), ("key", "may", "made", "expires", "accepted"), rows))
    output.emit({"keys": found})


@app.command("revoke", epilog="Example: cityloop keys revoke gates-plc")
def revoke(
    name: Annotated[str, typer.Argument(help="A key's name or id.", show_default=False)],
    file: KeyFile = Path("keys.json"),
    as_json: AsJson = None,
) -> None:
    """Revoke a key; running services refuse it from their next request on."""
    output = Output(as_json)
    key = revoke_key(file, name)
    output.say(f"key of {key.name} is revoked")
    output.emit(key.plain())
