"""DescribeQuorum v0-2 (KIP-595, KIP-836 for times, KIP-853 for directories): voters and observers of the metadata log.

Only the leader knows; a broker hands the request on.
"""

from typing import TYPE_CHECKING

from riverport.kafka.server.quorum_description import describe_quorum
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DescribeQuorumResponse:
    return describe_quorum(broker, request.body, request.version)
