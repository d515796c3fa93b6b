"""The controller: what the cluster is, and who may change it (KRaft, KIP-500, KIP-631).

    image.py         MetadataImage: the cluster as the records say; MetadataDelta: what one batch of records changed
    replay.py        records into an image, transactions as a whole
    records.py       an image as records again, for snapshots
    features.py      feature levels: what this code knows, which version of each record a metadata.version writes
    feature_updates.py  which changes of levels are allowed (KIP-584, KIP-778)
    placement.py     which brokers get a new partition's replicas
    topics.py        create, delete, grow topics
    cluster.py       brokers: registration, heartbeats, fencing, controlled shutdown, unregistration
    heartbeats.py    who was heard of lately
    elections.py     leaders
    reassignments.py partitions on the move
    client_quotas.py limits of users, client ids, addresses
    scram.py         credentials
    outcome.py       what every decision is: `Outcome(response, records)`

Every method decides and changes nothing: its records are written to the metadata log, and replaying them is what
changes the image. So a restart, a standby and the active controller all run the same code.
"""
