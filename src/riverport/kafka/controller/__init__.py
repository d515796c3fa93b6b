"""The controller: what the cluster is, and who may change it (KRaft, KIP-500, KIP-631).

    image.py         MetadataImage: the cluster as the records say; MetadataDelta: what one batch of records changed
    registrations.py what is registered of a broker, a controller, a partition, and what a record makes of it
    replay.py        records into an image, transactions as a whole
    records.py       an image as records again, for snapshots
    features.py      feature levels: what this code knows, which version of each record a metadata.version writes
    feature_updates.py  which changes of levels are allowed (KIP-584, KIP-778)
    placement.py     which brokers get a new partition's replicas
    topics.py        create, delete, grow topics
    cluster.py       brokers and controllers: registration, unregistration, producer ids
    broker_states.py fenced, unfenced, leaving: what heartbeats and their absence decide
    heartbeats.py    who was heard of lately
    memberships.py   which partitions a broker concerns
    policies.py      what settings and brokers allow a partition
    partition_change.py  one change of one partition: in-sync and eligible replicas, leader, epochs
    failover.py      partitions when brokers or directories come and go
    alter_partition.py   leaders tell who is in sync
    elections.py     elections by request, to restore balance, to revive
    reassignments.py partitions on the move
    directories.py   which replica is in which directory of its broker
    client_quotas.py limits of users, client ids, addresses
    scram.py         credentials
    outcome.py       what every decision is: `Outcome(response, records)`

Every method decides and changes nothing: its records are written to the metadata log, and replaying them is what
changes the image. So a restart, a standby and the active controller all run the same code.
"""
