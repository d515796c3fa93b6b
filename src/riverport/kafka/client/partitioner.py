"""Which partition a record goes to: that of its key's hash, as the Java client computes it, or the emptiest hand."""


def murmur2(data: bytes) -> int:
    """Murmur2 with the seed that Kafka's clients use, as an unsigned 32-bit number."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    size = len(data)
    value = (0x9747B28C ^ size) & mask
    whole = size & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    if size & 3:
        value = (value ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return value ^ value >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among `partitions`: the same in every client that hashes as the Java one does."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
