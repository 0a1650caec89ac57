from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Column(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class ActRequest(_message.Message):
    __slots__ = ("system", "site", "tick", "time_s", "readings", "deadline_ms", "episode", "ages_s")
    class ReadingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Column
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Column, _Mapping]] = ...) -> None: ...
    class AgesSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    TICK_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    EPISODE_FIELD_NUMBER: _ClassVar[int]
    AGES_S_FIELD_NUMBER: _ClassVar[int]
    system: str
    site: str
    tick: int
    time_s: float
    readings: _containers.MessageMap[str, Column]
    deadline_ms: float
    episode: str
    ages_s: _containers.ScalarMap[str, float]
    def __init__(self, system: _Optional[str] = ..., site: _Optional[str] = ..., tick: _Optional[int] = ..., time_s: _Optional[float] = ..., readings: _Optional[_Mapping[str, Column]] = ..., deadline_ms: _Optional[float] = ..., episode: _Optional[str] = ..., ages_s: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("name", "values", "program")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedScalarFieldContainer[float]
    program: str
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., program: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("agent", "requested", "commanded", "reason")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    COMMANDED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    agent: str
    requested: float
    commanded: float
    reason: str
    def __init__(self, agent: _Optional[str] = ..., requested: _Optional[float] = ..., commanded: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Imputed(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class ActAnswer(_message.Message):
    __slots__ = ("tick", "time_s", "commands", "interventions", "source", "controller", "bundle", "fallback", "fallback_reason", "local", "overridden", "imputed", "findings", "latency_ms", "error")
    class CommandsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Command
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Command, _Mapping]] = ...) -> None: ...
    class OverriddenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ImputedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Imputed
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Imputed, _Mapping]] = ...) -> None: ...
    TICK_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    INTERVENTIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tick: int
    time_s: float
    commands: _containers.MessageMap[str, Command]
    interventions: _containers.RepeatedCompositeFieldContainer[Change]
    source: str
    controller: str
    bundle: str
    fallback: bool
    fallback_reason: str
    local: _containers.RepeatedScalarFieldContainer[str]
    overridden: _containers.ScalarMap[str, str]
    imputed: _containers.MessageMap[str, Imputed]
    findings: _containers.RepeatedScalarFieldContainer[str]
    latency_ms: float
    error: Problem
    def __init__(self, tick: _Optional[int] = ..., time_s: _Optional[float] = ..., commands: _Optional[_Mapping[str, Command]] = ..., interventions: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., source: _Optional[str] = ..., controller: _Optional[str] = ..., bundle: _Optional[str] = ..., fallback: _Optional[bool] = ..., fallback_reason: _Optional[str] = ..., local: _Optional[_Iterable[str]] = ..., overridden: _Optional[_Mapping[str, str]] = ..., imputed: _Optional[_Mapping[str, Imputed]] = ..., findings: _Optional[_Iterable[str]] = ..., latency_ms: _Optional[float] = ..., error: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("status", "field", "value", "mend", "retry_after_s")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MEND_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    status: int
    field: str
    value: str
    mend: str
    retry_after_s: float
    def __init__(self, status: _Optional[int] = ..., field: _Optional[str] = ..., value: _Optional[str] = ..., mend: _Optional[str] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class SiteRequest(_message.Message):
    __slots__ = ("system", "site")
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    system: str
    site: str
    def __init__(self, system: _Optional[str] = ..., site: _Optional[str] = ...) -> None: ...

class Axis(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SiteInfo(_message.Message):
    __slots__ = ("system", "site", "site_hash", "agents", "axes", "json")
    class AxesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Axis
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Axis, _Mapping]] = ...) -> None: ...
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SITE_HASH_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    system: str
    site: str
    site_hash: str
    agents: _containers.RepeatedScalarFieldContainer[str]
    axes: _containers.MessageMap[str, Axis]
    json: str
    def __init__(self, system: _Optional[str] = ..., site: _Optional[str] = ..., site_hash: _Optional[str] = ..., agents: _Optional[_Iterable[str]] = ..., axes: _Optional[_Mapping[str, Axis]] = ..., json: _Optional[str] = ...) -> None: ...

class Json(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("system", "site", "since")
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    system: str
    site: str
    since: str
    def __init__(self, system: _Optional[str] = ..., site: _Optional[str] = ..., since: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "kind", "json")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    json: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthAnswer(_message.Message):
    __slots__ = ("status", "sites")
    class SitesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    status: str
    sites: _containers.ScalarMap[str, str]
    def __init__(self, status: _Optional[str] = ..., sites: _Optional[_Mapping[str, str]] = ...) -> None: ...
