"""Configurations of topics, brokers, groups and client metrics: what they may be, what they are, how they change.

    resources.py         kinds of resources, sources of values, operations; topic names
    broker_keys.py       names of broker settings: synonyms, keys of one listener
    broker_settings.py   the settings of one broker by source, and what may change while it runs
    topic_settings.py    topic keys, their broker synonyms, and the LogConfig that they make
    group_settings.py    group keys and the broker's limits on them
    client_metrics_settings.py
    loggers.py           log levels as configurations (KIP-412)
    rules.py             what the controller lets be written
    alter.py             from a request to the keys that change
    describe.py          DescribeConfigs
    listing.py           ListConfigResources

A value comes from the first source that has it:

    topic, group or subscription  >  this broker, dynamic  >  cluster, dynamic  >  server.properties  >  default

Everything here is a function of a view of the metadata and of the broker's settings; the caller writes the records.
Sources: KIP-226 (dynamic brokers), KIP-339 (incremental changes), KIP-412 (loggers), KIP-714 (client metrics),
KIP-848 and KIP-932 (groups), KIP-966 (min.insync.replicas under ELR).
"""
