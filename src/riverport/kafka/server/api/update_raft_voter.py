"""UpdateRaftVoter v0 (KIP-853): a voter tells the leader where it listens now, and which kraft.version it knows."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.UpdateRaftVoterResponse:
    return broker.voter_changes.update(request.body)
