import pytest

from riverport.kafka.admin.listing import list_resources
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.wire import messages as m

CONFIGURED = [
    Resource(ResourceType.TOPIC, "t"),
    Resource(ResourceType.BROKER, ""),
    Resource(ResourceType.GROUP, "h"),
    Resource(ResourceType.GROUP, "g"),
    Resource(ResourceType.CLIENT_METRICS, "m"),
]
ALL = [("g", 32), ("h", 32), ("m", 16), ("1", 8), ("2", 8), ("1", 4), ("2", 4), ("t", 2), ("u", 2)]


@pytest.mark.parametrize(
    ("version", "types", "code", "listed"),
    [
        (0, [], 0, [("m", 16)]),
        (1, [], 0, ALL),
        (1, [2], 0, [("t", 2), ("u", 2)]),
        (1, [32, 16, 16], 0, [("g", 32), ("h", 32), ("m", 16)]),
        (1, [2, 99], 35, []),
        (1, [0], 35, []),
    ],
)
def test_what_is_listed(version: int, types: list[int], code: int, listed: list[tuple[str, int]]) -> None:
    request = m.ListConfigResourcesRequest(resource_types=types)
    answer = list_resources(request, version, ["u", "t"], [2, 1], CONFIGURED)
    assert answer.error_code == code
    assert [(line.resource_name, line.resource_type) for line in answer.config_resources] == listed
