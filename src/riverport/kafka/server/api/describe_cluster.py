"""DescribeCluster v0-2 (KIP-700, KIP-919 endpoint type, KIP-1073 fenced brokers)."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Node = m.DescribeClusterResponse.DescribeClusterBroker
BROKERS, CONTROLLERS = 1, 2


def handle(broker: "Broker", request: Request) -> m.DescribeClusterResponse:
    body: m.DescribeClusterRequest = request.body
    listener = request.connection.listener
    kind = BROKERS if listener.dispatch.kind == "broker" else CONTROLLERS
    if body.endpoint_type not in (BROKERS, CONTROLLERS):
        message = f"Unsupported endpoint type {body.endpoint_type}"
        return m.DescribeClusterResponse(error_code=ErrorCode.UNSUPPORTED_ENDPOINT_TYPE, error_message=message)
    if body.endpoint_type != kind:
        names = {BROKERS: "BROKER", CONTROLLERS: "CONTROLLER"}
        return m.DescribeClusterResponse(
            # Version 0 knows of no types: its clients only ever want brokers.
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE if request.version >= 1 else ErrorCode.INVALID_REQUEST,
            error_message=f"The request was sent to an endpoint of type {names[kind]}, but we wanted an endpoint of "
            f"type {names[body.endpoint_type]}",
        )
    if kind == CONTROLLERS:
        nodes = [_Node(id_, host, port) for id_, host, port in broker.view.controllers(listener.name)]
        controller_id = broker.metadata.leader_id
    else:
        nodes = [
            _Node(node.id, host, port, node.rack, node.fenced)
            for node, host, port in broker.view.brokers(listener.name, fenced=body.include_fenced_brokers)
        ]
        controller_id = broker.view.shown_controller()
    operations = broker.view.cluster_operations() if body.include_cluster_authorized_operations else -(2**31)
    return m.DescribeClusterResponse(
        endpoint_type=kind,
        cluster_id=broker.cluster_id,
        controller_id=controller_id,
        brokers=nodes,
        cluster_authorized_operations=operations,
    )
