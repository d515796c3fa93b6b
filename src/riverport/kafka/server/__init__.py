"""The broker: sockets, processes and files around the cores.

    main.py            from server.properties to a running process, and its end
    broker.py          what one broker consists of, its start and its clean stop
    duties.py          what it does by the clock
    log_directories.py    the ids of its directories, and what is lost when one fails
    metadata_changes.py    what a change of the metadata means to its parts
    listener.py        the listening sockets of one server, and the limits on its connections
    connection.py      one client's connection: frames in, answers out, in order
    dispatch.py        which handler serves which API and version on which listener
    api/               one module per Kafka API: `handle(broker, request)`
    waiting.py         fetches that wait for data, and what wakes them
    fetch_session.py   incremental fetch sessions (KIP-227)
    metadata_shell.py, group_shell.py    the metadata quorum and the group coordinator on the broker's event loop
    metadata_copy.py, metadata_writer.py    what becomes of a leader's answers; what the active controller writes
    metadata_lead.py   this node as the quorum's leader, from its election to its end
    quorum_network.py    how the replicas of the metadata log meet
    metadata_snapshots.py    when the metadata log gets a snapshot, and what of it is kept
    client_quotas.py   what clients may write, read and take of the broker's time
    replica_moves.py   logs on their way between directories
    storage_format.py  `riverport kafka format`
    settings.py        server.properties

One event loop, no locks. A handler runs to its end without awaiting: it returns the answer, or a future of it. Work
that blocks (fsync, compaction, deletion) is a job on a thread, and its result comes back to the loop before it means
anything.
"""
