"""ApiVersions v0-5 (KIP-511, KIP-584, KIP-1242): what this listener serves, and the cluster's features.

v0-3 leave out supported features whose lowest level is 0, since clients of that time refuse them (KAFKA-17011).
v5 may carry the cluster id and node id that the client believes to talk to: a wrong one is answered with
REBOOTSTRAP_REQUIRED, one without the other with INVALID_REQUEST.
"""

import re
from typing import TYPE_CHECKING

from riverport.kafka.controller import features
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import PRODUCE_ADVERTISED_LOW, ApiKey
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def handle(broker: "Broker", request: Request) -> m.ApiVersionsResponse:
    body: m.ApiVersionsRequest = request.body
    if request.version >= 3:
        name, version = body.client_software_name, body.client_software_version
        if not _SOFTWARE.fullmatch(name) or not _SOFTWARE.fullmatch(version):
            return m.ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    if request.version >= 5 and (code := _wrong_target(broker, body)):
        return m.ApiVersionsResponse(error_code=code)
    return _answer(broker, request)


def unsupported(broker: "Broker", request: Request) -> m.ApiVersionsResponse:
    """The answer to a version that is not known: v0, with the range of this API alone."""
    low, high = request.connection.listener.dispatch.served()[ApiKey.API_VERSIONS]
    version = m.ApiVersionsResponse.ApiVersion(api_key=ApiKey.API_VERSIONS, min_version=low, max_version=high)
    return m.ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[version])


def _wrong_target(broker: "Broker", body: m.ApiVersionsRequest) -> ErrorCode | None:
    cluster_id, node_id = body.cluster_id, body.node_id
    if cluster_id is None and node_id == -1:
        return None
    if cluster_id is None or node_id == -1:
        return ErrorCode.INVALID_REQUEST
    if cluster_id != broker.cluster_id or node_id != broker.node_id:
        return ErrorCode.REBOOTSTRAP_REQUIRED
    return None


def _answer(broker: "Broker", request: Request) -> m.ApiVersionsResponse:
    listener = request.connection.listener
    keys = []
    for key, (low, high) in listener.dispatch.served().items():
        if key == ApiKey.PRODUCE:
            low = PRODUCE_ADVERTISED_LOW
        keys.append(m.ApiVersionsResponse.ApiVersion(api_key=key, min_version=low, max_version=high))
    supported = [
        m.ApiVersionsResponse.SupportedFeatureKey(name=name, min_version=low, max_version=high)
        for name, (low, high) in features.SUPPORTED.items()
        if low > 0 or request.version >= 4
    ]
    finalized = [
        m.ApiVersionsResponse.FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
        for name, level in broker.finalized_features().items()
    ]
    return m.ApiVersionsResponse(
        api_keys=keys,
        supported_features=supported,
        finalized_features=finalized,
        finalized_features_epoch=broker.finalized_features_epoch(),
    )
