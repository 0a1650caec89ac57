"""Configuration of HAProxy in front of the replicas: TLS where asked for, and error pages in the service's own form.

Ray Serve 2.60 writes HAProxy's configuration itself and passes neither on, so both are set in its process as it starts.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson

from envs.core.errors import CityloopError
from envs.core.machine.files import write_bytes
from serving.cluster.processes import alive, family, title
from serving.core.refusals import problem

if TYPE_CHECKING:
    from serving.config import Tls

LOGGER = logging.getLogger("cityloop.serving")

NAME = "cityloop"
"""Of the application that has every address, and the beginning of the shards' names."""

PEM = "CITYLOOP_TLS_PEM"
"""Environment variable: the file with certificate and key, for HAProxy."""

RETRY_AFTER_S = 1
"""Seconds until a client may ask again if no replica answers: one is started within seconds."""

DRAIN_S = 2
"""Seconds for HAProxy to end: a stream never would, an answer takes less."""

HEAD_WITHIN_S = 10
"""Time for the head of a request, from its first byte."""

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
"""HTTP methods of all routes; each route takes some of them."""

DECIDE_LOCALLY = "no replica answers now: decide locally and ask again"
"""What a plant does where no replica answers."""

NO_REPLICA = problem("service", None, DECIDE_LOCALLY)
"""Refusal where no replica answers."""

UNKNOWN_METHOD = problem("method", None, f"ask with one of {', '.join(METHODS)}")

GRPC = "http-request return status 200 content-type application/grpc hdr grpc-status"
"""Beginning of a rule that answers over gRPC; the status and a message follow."""

GRPC_NOT_FOUND, GRPC_UNIMPLEMENTED, GRPC_UNAVAILABLE = 5, 12, 14

NO_ADDRESS = problem("address", None, "GET /docs lists what there is")
"""Refusal of requests that concern no address of ours, such as ``OPTIONS *``."""


def bundle_tls(tls: Tls, folder: Path) -> Path:
    """Certificate and key as they are now, in one file that only this user reads, as HAProxy wants them.

    Raises:
        CityloopError: if one cannot be read, or does not fit the other; a file from before stays.
    """
    import ssl

    path = folder / "tls.pem"
    try:
        parts = [path.read_bytes().rstrip() + b"\n" for path in (tls.certificate, tls.key)]
        mode = tls.key.stat().st_mode
        # What was read is tried, and not the files: they may be renewed at this moment, one after the other.
        with TemporaryDirectory(dir=folder) as drafts:
            tried = Path(drafts, "certificate.pem"), Path(drafts, "key.pem")
            for draft, part in zip(tried, parts, strict=True):
                write_bytes(draft, part, mode=0o600)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*tried, password="")
        write_bytes(path, b"".join(parts), mode=0o600)
    except OSError as error:  # ssl's own errors among them
        raise CityloopError(
            f"tls: {tls.certificate} and {tls.key} cannot be used ({error.strerror or error}): "
            "give a certificate and its key as PEM, without a password"
        ) from None
    _tell_of_time(tls.certificate, parts[0])
    if mode & 0o007:  # a group may read it: that of the service
        LOGGER.warning("tls: anybody on this machine may read %s: run 'chmod o= %s'", tls.key, tls.key)
    return path


def _tell_of_time(path: Path, certificate: bytes) -> None:
    """Warn if clients that check it will refuse a certificate. It is used all the same: some do not check."""
    from cryptography import x509

    with suppress(ValueError):  # of a form that OpenSSL takes and this does not
        found = x509.load_pem_x509_certificates(certificate)[0]
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        if not begins <= datetime.now(UTC) <= ends:
            LOGGER.warning("tls: %s holds from %s to %s: clients refuse it; renew it, then SIGHUP", path, begins, ends)


def drain_proxy(folder: Path) -> None:
    """Let HAProxy answer its open requests and end, without taking new ones. Ray Serve would kill it at once.

    Args:
        folder: its working folder, under this process.
    """
    # Those, too, that have not ended yet after they were told of other replicas.
    proxies = [pid for pid in family(os.getpid()) if "/haproxy " in title(pid) and f" {folder}/" in title(pid)]
    for pid in proxies:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + DRAIN_S + 0.5
    while any(map(alive, proxies)) and time.monotonic() < deadline:
        time.sleep(0.02)


def set_up_proxy() -> None:
    """Patch the HAProxy configuration that this process will write.

    Raises:
        RuntimeError: if this version of Ray Serve is not the one that this was written for.
    """
    from ray.serve._private import haproxy, haproxy_templates

    template = haproxy.HAPROXY_CONFIG_TEMPLATE
    for old, new in changes():
        if template.count(old) != 1:
            raise RuntimeError(
                "this version of Ray Serve sets HAProxy up differently: serving/cluster/proxy.py must be adapted"
            )
        template = template.replace(old, new)
    haproxy.HAPROXY_CONFIG_TEMPLATE = haproxy_templates.HAPROXY_CONFIG_TEMPLATE = template
    before = haproxy.HAProxyApi._initialize_directories_and_error_files

    def initialize(self: Any) -> None:
        before(self)
        Path(self.cfg.error_file_path).write_bytes(error_page())

    haproxy.HAProxyApi._initialize_directories_and_error_files = initialize


def changes() -> list[tuple[str, str]]:
    """Replacements in Ray Serve's template: old text and new text."""
    found = [
        # Requests are not logged, as nobody keeps that log; errors still are.
        ("    option httplog\n", "    option httplog\n    option dontlog-normal\n"),
        # A tick has a deadline: nothing need watch whether its plant still listens, which takes two tasks a request.
        (
            "    # Routes endpoint\n",
            "    http-request set-header x-request-disconnect-disabled ?1 if METH_POST { path_end /act }\n"
            "    # Routes endpoint\n",
        ),
        # Ray's own proxy holds requests until there is a replica: a loop shall be refused and decide by itself.
        (
            "{{ backend.fallback_server.port }} check backup\n",
            "{{ backend.fallback_server.port }} check backup disabled\n",
        ),
        # Nobody keeps a connection by half a request. HAProxy's own page says so, as to whatever is no HTTP at all:
        # what it answers below its rules cannot be put in other words.
        ("    option httplog\n", f"    option httplog\n    timeout http-request {HEAD_WITHIN_S}s\n"),
        # The servers behind it answer methods that they do not know in words of their own.
        (
            "    # Routes endpoint\n",
            f"    http-request return status 405 content-type application/json hdr allow '{', '.join(METHODS)}' "
            f"string '{orjson.dumps(UNKNOWN_METHOD).decode()}' if !{{ method {' '.join(METHODS)} }}\n"
            "    http-request return status 404 content-type application/json "
            f"string '{orjson.dumps(NO_ADDRESS).decode()}' if !{{ path_beg / }}\n",
        ),
        # It would name the sites to whoever asks, without a key.
        (
            "    http-request return status {{ route_info.status }} content-type {{ route_info.routes_content_type }} "
            'string "{{ route_info.routes_message }}" if routes\n',
            "    http-request return status 404 content-type application/json "
            f"string '{orjson.dumps(NO_ADDRESS).decode()}' if routes\n",
        ),
        # A proxy that has just started knows of no application; ours has every address.
        (
            "    http-request return status 404 content-type text/plain lf-string \"Path '%[path]' not found. "
            'Ping http://.../-/routes for available routes."',
            f"    http-request return status 503 content-type application/json hdr retry-after {RETRY_AFTER_S} "
            f"string '{orjson.dumps(NO_REPLICA).decode()}'",
        ),
    ]
    # A client over gRPC knows of no applications: whoever names none is answered by the one in front.
    found.append(
        (
            "    # Route per-app on the `application` metadata that Ray Serve clients attach.\n",
            "{%- for backend in grpc_backends if backend.app_name == '" + NAME + "' %}\n"
            "    use_backend {{ backend.name }} unless { req.hdr(application) -m found }\n"
            "{%- endfor %}\n",
        )
    )
    lists = "/ray.serve.RayServeAPIService/ListApplications for available applications."
    found += [
        # It would name the sites to whoever asks, without a key.
        (
            "    use_backend grpc_fallback_backend if is_list_applications\n",
            f'    {GRPC} {GRPC_UNIMPLEMENTED} hdr grpc-message "ask Info of a site" if is_list_applications\n',
        ),
        (f"not found. Ping {lists}", "not found: leave the metadata 'application' out"),
        # As a service starts; a plant would take it for good that nothing is found.
        (
            f'{GRPC} {GRPC_NOT_FOUND} hdr grpc-message "Application metadata not set. Ping {lists}"',
            f'{GRPC} {GRPC_UNAVAILABLE} hdr grpc-message "{DECIDE_LOCALLY}"',
        ),
    ]
    pem = os.environ.get(PEM)
    if pem:
        bind = "    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n"
        found.append((bind, f"{bind.rstrip()} ssl crt {pem} ssl-min-ver TLSv1.2\n"))
    return found


def error_page() -> bytes:
    """HAProxy's answer where no replica answers."""
    body = orjson.dumps(NO_REPLICA)
    head = (
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_AFTER_S}",
        "Cache-Control: no-cache",
    )
    return "\r\n".join([*head, "", ""]).encode() + body
