"""What the administrator says about networks; dockerd's flag of the same meaning in brackets."""

from dataclasses import dataclass

from riverport.engine.networks.ipam import DEFAULT_POOLS, Pool


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    bridge: str = "docker0"
    """The default network's bridge [--bridge]; "none": there is no default network."""
    bridge_address: str = ""
    """Its address and subnet, as 10.1.0.1/24 [--bip]; empty: the first free pool."""
    pools: tuple[Pool, ...] = DEFAULT_POOLS
    """[--default-address-pool]"""
    publish_address: str = ""
    """Where ports are published that name no address [--ip]; empty: every address of the host."""
    publish_firewalled: bool = False
    """Published ports are open to other machines only where chain `user` accepts. Containers and this host reach them
    always."""
    table: str = "riverport"
    """The nftables table (family inet). Its chain `user` comes before our rules and is never touched by us."""
    mtu: int = 1500
    """[--mtu]"""
    icc: bool = True
    """Containers of the default network may talk to each other [--icc]."""
    masquerade: bool = True
    """[--ip-masq]"""
    forward: bool = True
    """Switch on ip_forward where it is off [--ip-forward]."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway: tuple[str, ...] = ()
    """What `host-gateway` in --add-host stands for [--host-gateway-ip]; empty: the default bridge's address."""
    resolv_conf: str = "/etc/resolv.conf"
    hosts: str = "/etc/hosts"
