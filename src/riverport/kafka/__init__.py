"""Apache Kafka: the wire protocol, the log, the controller, groups, and the broker that joins them."""
