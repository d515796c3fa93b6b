"""Our answers about configurations beside those that Apache Kafka 4.3.1 gave in the same conversation."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from answers import (
    ANSWERS,
    GIVEN,
    OWN_WORDS,
    STEPS,
    alter_request,
    altered_answer,
    create_request,
    created_answer,
    describe_request,
    described_answer,
    legacy_request,
    words,
)

from riverport.kafka.admin import alter, describe
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.admin.rules import ConfigRules
from riverport.kafka.server.settings import by_source, load
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

FEATURES = alter.Features(elr=True, cordoned_log_dirs=True)


class Node:
    """A combined node: the metadata's configurations, and a broker and a controller that look at them."""

    def __init__(self) -> None:
        # Formatting a cluster whose eligible.leader.replicas.version is 1 writes this one.
        cluster = Resource(ResourceType.BROKER, "")
        self.metadata: dict[Resource, dict[str, str]] = {cluster: {"min.insync.replicas": "1"}}
        self.levels = {"root": "INFO", "riverport": "INFO"}
        self.node_id = 1
        self.settings = by_source(load(GIVEN))
        self.rules = ConfigRules(lambda: self.settings)
        self.refresh()

    def refresh(self) -> None:
        cluster, own = Resource(ResourceType.BROKER, ""), Resource(ResourceType.BROKER, "1")
        self.settings = self.settings.with_dynamic(self.configs(cluster), self.configs(own))

    def configs(self, resource: Resource) -> Mapping[str, str]:
        return self.metadata.get(resource, {})

    def has_topic(self, name: str) -> bool:
        return name in ("t", "u")

    def loggers(self) -> Mapping[str, str]:
        return self.levels

    def ensure_exists(self, resource: Resource) -> None:
        if resource.kind is ResourceType.TOPIC and not self.has_topic(resource.name):
            words = f"The topic '{resource.name}' does not exist."
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, words)

    def alter(self, altered: list[alter.Altered]) -> list[ApiError | None]:
        """What a broker and its controller do with a request, one after the other."""
        verdicts = alter.check_on_broker(self, altered)
        asked = [one for one, verdict in zip(altered, verdicts, strict=True) if verdict.is_open]
        plans = iter(alter.plan_all(self.rules, asked, self.configs, self.ensure_exists, FEATURES))
        errors: list[ApiError | None] = []
        for one, verdict in zip(altered, verdicts, strict=True):
            if not verdict.is_open:
                self.levels.update({key: level or "INFO" for key, level in (verdict.levels or {}).items()})
                errors.append(verdict.error)
                continue
            plan = next(plans)
            errors.append(plan if isinstance(plan, ApiError) else self.write(one.resource, plan))
        self.refresh()
        return errors

    def write(self, resource: Resource, changes: Mapping[str, str | None]) -> None:
        configs = self.metadata.setdefault(resource, {})
        for key, value in changes.items():
            if not self.rules.is_known(resource.kind, key):
                continue
            if value is None:
                configs.pop(key, None)
            else:
                configs[key] = value

    def create(self, request: m.CreateTopicsRequest) -> m.CreateTopicsResponse:
        topic = request.topics[0]
        made = m.CreateTopicsResponse.CreatableTopicResult
        try:
            configs = alter.creation_configs((config.name, config.value) for config in topic.configs)
            self.rules.ensure_allowed(Resource(ResourceType.TOPIC, topic.name), configs, {})
        except ApiError as refused:
            return m.CreateTopicsResponse(topics=[made(error_code=refused.code, error_message=refused.message)])
        line = m.CreateTopicsResponse.CreatableTopicConfigs
        shown = [line(c.key, c.value, False, c.source, c.sensitive) for c in self.rules.effective(configs)]
        return m.CreateTopicsResponse(topics=[made(name=topic.name, error_message=None, configs=shown)])

    def answer(self, step: list[Any]) -> list[Any]:
        match step[0]:
            case "alter":
                altered = alter.incremental(alter_request(step))
                return altered_answer(alter.incremental_response(altered, self.alter(altered)))
            case "legacy":
                altered = alter.legacy(legacy_request(step))
                return altered_answer(alter.legacy_response(altered, self.alter(altered)))
            case "create":
                return created_answer(self.create(create_request(step)))
            case _:
                return described_answer(describe.describe(self, describe_request(step)))


def conversation() -> list[tuple[list[Any], list[Any], list[Any]]]:
    node = Node()
    theirs = json.loads(ANSWERS.read_text())
    assert len(theirs) == len(STEPS)
    ours = [json.loads(json.dumps(node.answer(step))) for step in STEPS]
    return list(zip(STEPS, ours, theirs, strict=True))


@pytest.mark.parametrize(("step", "ours", "theirs"), conversation())
def test_the_answer_is_that_of_kafka(step: list[Any], ours: list[Any], theirs: list[Any]) -> None:
    if step[0] == "create":
        ours, theirs = [ours], [theirs]
    for our_line, their_line in zip(ours, theirs, strict=True):
        assert our_line[:1] + our_line[2:] == their_line[:1] + their_line[2:]
        assert our_line[1] == their_line[1] or our_line[1] in {words(message) for message in OWN_WORDS}
