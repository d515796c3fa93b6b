"""Partitions as a broker has them: who leads, what may be read, what an acknowledgement waits for.

`partition.Partition` joins one `riverport.kafka.log` log with the partition's state in the metadata image. A broker
that is alone in the in-sync replicas commits what it appends at once; the high watermark is then the log's end.
"""
