"""RemoveRaftVoter v0 (KIP-853): one voter less of the metadata quorum, which may be the leader itself."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.RemoveRaftVoterResponse]:
    return broker.voter_changes.remove(request.body)
