"""What a change of the cluster's metadata means to the parts of a node, in the order in which they may hear of it."""

from typing import TYPE_CHECKING

from riverport.kafka.controller import features
from riverport.kafka.controller.cluster import CORDONED_SINCE
from riverport.kafka.controller.image import TOPIC_RESOURCE, MetadataDelta, MetadataImage
from riverport.kafka.server.topics import OFFSETS_TOPIC

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_EVERYTHING = MetadataDelta(everything=True)


class MetadataChanges:
    """Called with each new image and what has changed in it."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    # --- settings: of every node, from its start on

    def begin_with_settings(self) -> None:
        """The metadata log is open: what it says of this node's settings holds before anything else is made."""
        metadata = self._broker.metadata
        self._follow_settings(metadata.image, _EVERYTHING)
        metadata.subscribe(self._follow_settings)

    def _follow_settings(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Dynamic settings of this node: what reads `config` has them at once, what keeps a copy is told here."""
        broker = self._broker
        if not broker.configs.follow(delta):
            return
        broker.server.settings_changed()
        self._follow_cordoned()
        broker.compaction.settings_changed()
        broker.replica_fetchers.resize()
        broker.logs.update_configs(broker.configs.log_config)

    def _follow_cordoned(self) -> None:
        """Cordoned directories get no new partitions; the controller is told, so that it can choose other brokers."""
        broker = self._broker
        known = broker.metadata.image.features.get(features.METADATA_VERSION, 0) >= CORDONED_SINCE
        cordoned = broker.config.cordoned_log_dirs if known else ()
        if cordoned != broker.logs.cordoned:
            broker.logs.cordoned = cordoned
            broker.lifecycle.directories_changed()

    # --- everything: of a broker that is registered

    def begin(self) -> None:
        """This broker is level with the metadata: everything in it is new."""
        broker = self._broker
        image = broker.metadata.image
        self._follow_settings(image, _EVERYTHING)
        broker.topics.apply_all(image)
        broker.view.changed(image, None)
        broker.client_quotas.changed(image, _EVERYTHING)
        broker.replication.changed(image, _EVERYTHING)
        self._follow_cordoned()
        broker.metadata.subscribe(self._follow)
        if broker.has_topic(OFFSETS_TOPIC):
            broker.groups.follow()

    def _follow(self, image: MetadataImage, delta: MetadataDelta) -> None:
        broker = self._broker
        self._follow_topics(image, delta)
        if delta.brokers:
            broker.replica_fetchers.brokers_changed(delta.brokers)
        if delta.configs:
            broker.replica_fetchers.try_again()
        self._follow_groups(delta)
        broker.client_quotas.changed(image, delta)
        broker.replication.changed(image, delta)
        if delta.features:
            broker.lifecycle.level_changed()
            self._follow_cordoned()
        for kind, name in sorted(delta.configs):
            if kind == TOPIC_RESOURCE:
                broker.logs.update_config(name, broker.configs.log_config(name))

    def _follow_topics(self, image: MetadataImage, delta: MetadataDelta) -> None:
        broker = self._broker
        if delta.everything or delta.brokers or delta.topics or delta.deleted_topics:
            everything = delta.everything or bool(delta.brokers)
            names = [*delta.topics, *delta.deleted_topics.values()]
            broker.view.changed(image, None if everything else names)
        if delta.everything:
            broker.topics.reload(image)
        else:
            deleted = [(name, id_) for id_, name in delta.deleted_topics.items()]
            broker.topics.apply(image, sorted(delta.topics), deleted)

    def _follow_groups(self, delta: MetadataDelta) -> None:
        broker = self._broker
        changed = OFFSETS_TOPIC in delta.topics or OFFSETS_TOPIC in delta.deleted_topics.values()
        if changed or (delta.everything and broker.has_groups):
            broker.groups.follow()
        if delta.deleted_topics and broker.has_groups:
            broker.groups.topics_deleted(delta.deleted_topics)
