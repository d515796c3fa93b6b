"""AddRaftVoter v0-1 (KIP-853, KIP-1186 for those who add themselves): one more voter of the metadata quorum."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AddRaftVoterResponse]:
    return broker.voter_changes.add(request.body)
