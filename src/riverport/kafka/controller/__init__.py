"""The controller: what the cluster is, and who may change it (KRaft, KIP-500, KIP-631).

    image.py         MetadataImage: the cluster as the records say; MetadataDelta: what one batch of records changed
    records.py       which version of each record a metadata.version writes; an image as records again (snapshots)
    features.py      feature levels and what they mean (KIP-584, KIP-778)
    placement.py     which brokers get a new partition's replicas
    topics.py        create, delete, grow topics
    configs.py       dynamic configurations
    cluster.py       brokers: registration, heartbeats, fencing, controlled shutdown
    elections.py     leaders, in-sync replicas, reassignments
    controller.py    Controller: one method per request, `Outcome(records, response)`

Every method decides and changes nothing: its records are written to the metadata log, and replaying them is what
changes the image. So a restart, a standby and the active controller all run the same code.
"""
