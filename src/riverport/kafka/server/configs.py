"""The configurations of one node: what it runs with, what it shows of them, and who may change them.

The metadata log holds what is dynamic. A change of this node's own settings, or of the cluster's defaults, makes a new
`BrokerConfig`, and whoever reads `broker.config[...]` from then on has the new value.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.base.settings import ConfigError
from riverport.kafka.admin import topic_settings
from riverport.kafka.admin.broker_settings import BrokerSettings
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.admin.rules import ConfigRules
from riverport.kafka.controller.image import BROKER_RESOURCE, TOPIC_RESOURCE, MetadataDelta
from riverport.kafka.log import LogConfig
from riverport.kafka.server import log_levels
from riverport.kafka.server.settings import BrokerConfig, by_source
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)


class Configs:
    """What DescribeConfigs and AlterConfigs see of a node (`describe.ConfigView`, `alter.BrokerSide`)."""

    def __init__(self, node: "Broker", config: BrokerConfig) -> None:
        self._node = node
        self.settings: BrokerSettings = by_source(config)
        self.rules = ConfigRules(lambda: self.settings)
        self._topic_defaults = topic_settings.broker_defaults(config.values)

    @property
    def node_id(self) -> int:
        return self._node.node_id

    def has_topic(self, name: str) -> bool:
        return self._node.has_topic(name)

    def configs(self, resource: Resource) -> Mapping[str, str]:
        return self._node.metadata.image.config(resource.kind, resource.name)

    def loggers(self) -> Mapping[str, str]:
        return log_levels.levels()

    def follow(self, delta: MetadataDelta) -> bool:
        """Take over what the metadata now says of this node's settings; whether there is anything new."""
        changed = delta.configs & {(BROKER_RESOURCE, ""), (BROKER_RESOURCE, str(self.node_id))}
        return bool(changed or delta.everything) and self.refresh()

    def refresh(self) -> bool:
        cluster = self.configs(Resource(ResourceType.BROKER, ""))
        own = self.configs(Resource(ResourceType.BROKER, str(self.node_id)))
        if self.settings.has_dynamic(cluster, own):
            return True
        try:
            self.settings = self.settings.with_dynamic(cluster, own)
        except ConfigError as wrong:
            # Written around the checks, or for another release: what runs goes on running.
            log.error("the new dynamic settings cannot be used", problems="; ".join(wrong.problems))
            return False
        loaded = self.settings.loaded
        assert isinstance(loaded, BrokerConfig), loaded
        self._node.config = loaded
        self._topic_defaults = topic_settings.broker_defaults(loaded.values)
        return True

    # --- topics

    def log_config(self, topic: str) -> LogConfig:
        """What the topic's configuration means for its logs now."""
        configs = self._node.metadata.image.config(TOPIC_RESOURCE, topic)
        return topic_settings.log_config(topic_settings.values_of(self._topic_defaults, configs))

    def topic_problem(self, kind: int, name: str, values: Mapping[str, str]) -> str | None:
        """Why a topic may not be made with these configurations."""
        try:
            self.rules.ensure_allowed(Resource(ResourceType.of(kind), name), values, {})
        except ApiError as refused:
            return refused.message
        return None
