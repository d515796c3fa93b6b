"""JSON objects of the Docker API as tables: which fields there are, of which type, and what stands for "not given".

`Table.read` takes what a client sent and gives the complete object in Docker's order of fields, as `inspect` shows it.
Unknown fields are dropped and wrong types are refused with the words of Go's decoder, because clients have come to
show them. (Published OpenAPI description of the Engine API, v1.50, definitions ContainerConfig and HostConfig.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from riverport.engine.errors import InvalidParameter

type_names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` is what Go calls the type; `check` tells whether a JSON value (not null) is of it."""

    name: str
    check: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def _map_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


BOOL = Kind("bool", lambda value: isinstance(value, bool))
NUMBER = Kind("int64", _is_number)
TEXT = Kind("string", _is_text)
TEXTS = Kind("[]string", _list_of(_is_text))
# A command may be one string or a list of them.
COMMAND = Kind(
    "strslice.StrSlice",
    lambda value: _is_text(value) or _list_of(_is_text)(value),
    lambda value: [value] if isinstance(value, str) else value,
)
SIZE = Kind(
    "[2]uint", lambda value: _list_of(_is_number)(value) and len(value) <= 2, lambda value: ([*value, 0, 0])[:2]
)
LABELS = Kind("map[string]string", _map_of(_is_text))
SET = Kind(
    "map[string]struct {}",
    _map_of(lambda value: value is None or isinstance(value, dict)),
    lambda value: {key: {} for key in value},
)
OBJECT = Kind("object", _is_object)
OBJECTS = Kind(
    "[]object",
    lambda value: isinstance(value, list) and all(item is None or _is_object(item) for item in value),
    lambda value: [item for item in value if item is not None],
)
PORTS = Kind("nat.PortMap", _map_of(lambda value: value is None or _list_of(_is_object)(value)))


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: Kind
    default: Any = None
    # True: left out of answers while it has its default value.
    optional: bool = False


class Table:
    def __init__(self, title: str, *fields: Field) -> None:
        self.title = title
        self.fields = {field.name: field for field in fields}
        self._spellings = {name.lower(): name for name in self.fields}

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The complete object; raises InvalidParameter on a value of a wrong type."""
        values: dict[str, Any] = {}
        for key, value in given.items():
            # Go's decoder takes any spelling of a field's name, and prefers the exact one.
            name = key if key in self.fields else self._spellings.get(key.lower())
            if name is not None and value is not None and (name == key or name not in given):
                values[name] = self._value(self.fields[name], value)
        return {name: values.get(name, _fresh(field.default)) for name, field in self.fields.items()}

    def show(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As an answer holds it: without optional fields that say nothing."""
        return {
            name: value
            for name, value in values.items()
            if not (name in self.fields and self.fields[name].optional and value == self.fields[name].default)
        }

    def _value(self, field: Field, value: Any) -> Any:
        if not field.kind.check(value):
            raise InvalidParameter(
                f"invalid JSON: json: cannot unmarshal {type_names.get(type(value), 'value')} into Go "
                f"struct field {self.title}.{field.name} of type {field.kind.name}"
            )
        return field.kind.convert(value)


def _fresh(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list) else value


HEALTHCHECK = Table(
    "HealthConfig",
    Field("Test", TEXTS, None, True),
    Field("Interval", NUMBER, 0, True),
    Field("Timeout", NUMBER, 0, True),
    Field("StartPeriod", NUMBER, 0, True),
    Field("StartInterval", NUMBER, 0, True),
    Field("Retries", NUMBER, 0, True),
)

CONFIG = Table(
    "Config",
    Field("Hostname", TEXT, ""),
    Field("Domainname", TEXT, ""),
    Field("User", TEXT, ""),
    Field("AttachStdin", BOOL, False),
    Field("AttachStdout", BOOL, False),
    Field("AttachStderr", BOOL, False),
    Field("ExposedPorts", SET, None, True),
    Field("Tty", BOOL, False),
    Field("OpenStdin", BOOL, False),
    Field("StdinOnce", BOOL, False),
    Field("Env", TEXTS),
    Field("Cmd", COMMAND),
    Field("Healthcheck", OBJECT, None, True),
    Field("ArgsEscaped", BOOL, False, True),
    Field("Image", TEXT, ""),
    Field("Volumes", SET),
    Field("WorkingDir", TEXT, ""),
    Field("Entrypoint", COMMAND),
    Field("NetworkDisabled", BOOL, False, True),
    Field("MacAddress", TEXT, "", True),
    Field("OnBuild", TEXTS),
    Field("Labels", LABELS),
    Field("StopSignal", TEXT, "", True),
    Field("StopTimeout", NUMBER, None, True),
    Field("Shell", COMMAND, None, True),
)

# What `update` may change of a HostConfig, besides the restart policy.
RESOURCES = (
    Field("CpuShares", NUMBER, 0),
    Field("Memory", NUMBER, 0),
    Field("NanoCpus", NUMBER, 0),
    Field("CgroupParent", TEXT, ""),
    Field("BlkioWeight", NUMBER, 0),
    Field("BlkioWeightDevice", OBJECTS),
    Field("BlkioDeviceReadBps", OBJECTS),
    Field("BlkioDeviceWriteBps", OBJECTS),
    Field("BlkioDeviceReadIOps", OBJECTS),
    Field("BlkioDeviceWriteIOps", OBJECTS),
    Field("CpuPeriod", NUMBER, 0),
    Field("CpuQuota", NUMBER, 0),
    Field("CpuRealtimePeriod", NUMBER, 0),
    Field("CpuRealtimeRuntime", NUMBER, 0),
    Field("CpusetCpus", TEXT, ""),
    Field("CpusetMems", TEXT, ""),
    Field("Devices", OBJECTS),
    Field("DeviceCgroupRules", TEXTS),
    Field("DeviceRequests", OBJECTS),
    Field("KernelMemory", NUMBER, 0, True),
    Field("KernelMemoryTCP", NUMBER, 0, True),
    Field("MemoryReservation", NUMBER, 0),
    Field("MemorySwap", NUMBER, 0),
    Field("MemorySwappiness", NUMBER),
    Field("OomKillDisable", BOOL),
    Field("PidsLimit", NUMBER),
    Field("Ulimits", OBJECTS),
    Field("CpuCount", NUMBER, 0),
    Field("CpuPercent", NUMBER, 0),
    Field("IOMaximumIOps", NUMBER, 0),
    Field("IOMaximumBandwidth", NUMBER, 0),
)

HOST_CONFIG = Table(
    "HostConfig",
    Field("Binds", TEXTS),
    Field("ContainerIDFile", TEXT, ""),
    Field("LogConfig", OBJECT, {"Type": "", "Config": {}}),
    Field("NetworkMode", TEXT, ""),
    Field("PortBindings", PORTS, {}),
    Field("RestartPolicy", OBJECT, {"Name": "no", "MaximumRetryCount": 0}),
    Field("AutoRemove", BOOL, False),
    Field("VolumeDriver", TEXT, ""),
    Field("VolumesFrom", TEXTS),
    Field("ConsoleSize", SIZE, [0, 0]),
    Field("Annotations", LABELS, None, True),
    Field("CapAdd", COMMAND),
    Field("CapDrop", COMMAND),
    Field("CgroupnsMode", TEXT, ""),
    Field("Dns", TEXTS),
    Field("DnsOptions", TEXTS),
    Field("DnsSearch", TEXTS),
    Field("ExtraHosts", TEXTS),
    Field("GroupAdd", TEXTS),
    Field("IpcMode", TEXT, ""),
    Field("Cgroup", TEXT, ""),
    Field("Links", TEXTS),
    Field("OomScoreAdj", NUMBER, 0),
    Field("PidMode", TEXT, ""),
    Field("Privileged", BOOL, False),
    Field("PublishAllPorts", BOOL, False),
    Field("ReadonlyRootfs", BOOL, False),
    Field("SecurityOpt", TEXTS),
    Field("StorageOpt", LABELS, None, True),
    Field("Tmpfs", LABELS, None, True),
    Field("UTSMode", TEXT, ""),
    Field("UsernsMode", TEXT, ""),
    Field("ShmSize", NUMBER, 0),
    Field("Sysctls", LABELS, None, True),
    Field("Runtime", TEXT, "", True),
    Field("Isolation", TEXT, ""),
    *RESOURCES,
    Field("Mounts", OBJECTS, None, True),
    Field("MaskedPaths", TEXTS),
    Field("ReadonlyPaths", TEXTS),
    Field("Init", BOOL, None, True),
)

# A container's endpoint in one network: what was asked for, and what it has got while it runs.
ENDPOINT = Table(
    "EndpointSettings",
    Field("IPAMConfig", OBJECT),
    Field("Links", TEXTS),
    Field("Aliases", TEXTS),
    Field("MacAddress", TEXT, ""),
    Field("DriverOpts", LABELS),
    Field("GwPriority", NUMBER, 0),
    Field("NetworkID", TEXT, ""),
    Field("EndpointID", TEXT, ""),
    Field("Gateway", TEXT, ""),
    Field("IPAddress", TEXT, ""),
    Field("IPPrefixLen", NUMBER, 0),
    Field("IPv6Gateway", TEXT, ""),
    Field("GlobalIPv6Address", TEXT, ""),
    Field("GlobalIPv6PrefixLen", NUMBER, 0),
    Field("DNSNames", TEXTS),
)
