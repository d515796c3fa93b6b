"""Networks of containers: bridges, addresses, published ports, names.

    api/networks.py → networks.py ── catalogue of networks; members that join, leave, connect, disconnect
                        │
      ipam.py           which address, which pool            (pure)
      options.py        the options and subnets of a create request (pure)
      documents.py      what a new network's document says   (pure)
      member.py         what a container tells and is told   (pure)
      publish.py        which host port                      (pure)
      firewall.py       the one nftables table as text       (pure)
      passage.py        our rules in the machine's own forward chain (pure)
      files.py          /etc/hosts, /etc/resolv.conf         (pure)
      names.py          who answers to a name                (pure)
      wire.py           DNS messages                         (pure)
      membership.py     all endpoints of a container: its way out, where its ports lead   (pure)
      members.py        containers that join, leave, connect, disconnect
      publications.py   their ports, from the host's to theirs
      name_server.py    127.0.0.11 of one container
      plumbing.py       bridges and veths, by linux/netlink.py
      gate.py           the table in the kernel, by linux/nft.py
      ports.py          sockets that hold host ports

What a container's owner (`engine.containers`) calls:

    joined = await networks.join(member, netns_path)      before the process runs; netns_path None: host's namespace
    await networks.leave(container_id)                    after it ended
    joined = await networks.connect(member, netns_path, network, endpoint)     a running one, one more network
    joined = await networks.disconnect(container_id, network)
    networks.rename(container_id, name)
    await networks.recover([(member, netns_path), ...])   once, after a daemon's start: who lives still
    networks.planned(member)                              what inspect tells of one that does not run

A network's name is looked up when a container joins, not when it is created, as in Docker.

Invariants: an endpoint's document is written before the kernel is told and deleted after it forgot, so that whatever a
killed daemon leaves behind is found again. The table holds no state that the documents lack: it is rebuilt as a whole
at the start, except for the chain `user`, which belongs to the machine's administrator. A container's links live in its
network namespace and vanish with it.

Sources: the Docker Engine API 1.50; nft(8); RFC 1035, RFC 2308 (empty NOERROR), RFC 826 and RFC 5227 (addresses move);
docs.docker.com, "Networking overview", "Port publishing and mapping".
"""
