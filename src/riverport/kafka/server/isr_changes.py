"""Changes of in-sync replicas on their way to the controller and back: AlterPartition v3 (KIP-497, KIP-903).

What is proposed in one turn of the loop leaves in one request. One request is under way at a time; what is proposed
meanwhile goes with the next. A request that fails as a whole is repeated until it is answered, or newer metadata has
made its proposals pointless.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.client.errors import ClientError
from riverport.kafka.replica.leader import Proposal
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.waiting import committed
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

RETRY_MS = 50
MOST_LOGGED = 100
"""Lines for one answer: with a broker that returns come those of thousands of partitions."""
_Key = tuple[bytes, int]


class IsrChanges:
    """Used from the event loop only."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._proposed: dict[_Key, tuple[Partition, Proposal]] = {}
        self._sending: dict[_Key, tuple[Partition, Proposal]] = {}
        self._timer: asyncio.Handle | None = None
        self._closed = False

    def submit(self, partition: Partition, proposal: Proposal) -> None:
        """Ask the controller; `proposal` is the one that the partition's leadership has pending."""
        self._proposed[partition.topic_id, partition.index] = (partition, proposal)
        if self._timer is None and not self._sending:
            self._timer = self._broker.loop.call_soon(self._send)

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._timer = None
        self._sending = {key: entry for key, entry in self._proposed.items() if _is_current(*entry)}
        self._proposed = {}
        if self._sending:
            self._broker.channel.send(self._request()).add_done_callback(self._answered)

    def _request(self) -> m.AlterPartitionRequest:
        made = m.AlterPartitionRequest
        topics: dict[bytes, Any] = {}
        for (topic_id, index), (_, proposal) in self._sending.items():
            topic = topics.get(topic_id)
            if topic is None:
                topic = topics[topic_id] = made.TopicData(topic_id, [])
            wanted = made.PartitionData(index, proposal.leader_epoch, partition_epoch=proposal.partition_epoch)
            wanted.new_isr_with_epochs = [made.BrokerState(id_, epoch) for id_, epoch in proposal.isr]
            topic.partitions.append(wanted)
        return made(self._broker.node_id, self._broker.broker_epoch, list(topics.values()))

    def _answered(self, done: "asyncio.Future[Any]") -> None:
        sent, self._sending = self._sending, {}
        if self._closed or done.cancelled():
            return
        error = done.exception()
        if error is not None and not isinstance(error, ClientError):
            log.error("a change of in-sync replicas failed", error=error)
        code = ErrorCode.NONE if error is None else ErrorCode.UNKNOWN_SERVER_ERROR
        if error is None and done.result().error_code:
            code = ErrorCode(done.result().error_code)
        if code is ErrorCode.NONE:
            self._take(done.result(), sent)
        else:
            # A stale broker epoch, another controller: what is asked stays right until the metadata says otherwise.
            log.info("in-sync replicas cannot be changed yet", code=code, error=error)
        for key, entry in sent.items():
            self._proposed.setdefault(key, entry)
        if self._proposed and self._timer is None:
            loop = self._broker.loop
            again_ms = RETRY_MS if sent else 0
            self._timer = loop.call_later(again_ms / 1000, self._send) if again_ms else loop.call_soon(self._send)

    def _take(self, answer: m.AlterPartitionResponse, sent: dict[_Key, tuple[Partition, Proposal]]) -> None:
        """Give each partition its answer; what is left in `sent` is to be asked again."""
        changed: list[Partition] = []
        for topic in answer.topics:
            for decided in topic.partitions:
                partition, proposal = sent.pop((topic.topic_id, decided.partition_index), (None, None))
                if partition is None or proposal is None or (leadership := partition.leadership) is None:
                    continue
                if decided.error_code:
                    if leadership.refused(proposal, decided.error_code):
                        sent[topic.topic_id, decided.partition_index] = (partition, proposal)
                    continue
                before = partition.high_watermark
                leadership.decided(proposal, decided.leader_epoch, decided.partition_epoch, decided.isr)
                changed.append(partition)
                if partition.high_watermark > before:
                    committed(partition, self._broker.loop)
                self._broker.replication.reconsider(partition)
        for partition in changed[:MOST_LOGGED]:
            log.info("in-sync replicas changed", partition=partition, isr=partition.isr)
        if len(changed) > MOST_LOGGED:
            log.info("in-sync replicas of more partitions changed", partitions=len(changed) - MOST_LOGGED)


def _is_current(partition: Partition, proposal: Proposal) -> bool:
    return partition.leadership is not None and partition.leadership.pending is proposal
