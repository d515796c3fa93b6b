"""How containers of a bridge network and the world beyond the host meet, for each IP version.

Driver options com.docker.network.bridge.gateway_mode_ipv4 and _ipv6 (Docker 28; docs.docker.com, "Bridge network
driver", "Port publishing and mapping").
"""

from enum import StrEnum
from typing import Final


class GatewayMode(StrEnum):
    """What is published is a port of the host where addresses are translated, else the container's own."""

    NAT = "nat"
    """Translated; from outside only what is published is reached, and only at the host."""

    NAT_UNPROTECTED = "nat-unprotected"
    """Translated; who has a route to the containers reaches every port of theirs as well."""

    ROUTED = "routed"
    """Nothing is translated; published ports are open at the containers' own addresses, to other networks too."""

    ISOLATED = "isolated"
    """Of internal networks only: the host has no address in it, and so no way in."""


GATEWAY_MODE4_OPTION: Final = "com.docker.network.bridge.gateway_mode_ipv4"
GATEWAY_MODE6_OPTION: Final = "com.docker.network.bridge.gateway_mode_ipv6"
