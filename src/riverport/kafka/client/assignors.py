"""Who consumes which partition. Every member could compute it; the leader of a generation does, for all."""

from collections.abc import Mapping, Sequence

TopicPartition = tuple[str, int]
Assignment = dict[str, list[TopicPartition]]


def assign_ranges(subscriptions: Mapping[str, Sequence[str]], partitions: Mapping[str, int]) -> Assignment:
    """Topic by topic, consecutive partitions to the members in the order of their ids; the first get the remainder.

    `subscriptions` are topics by member, `partitions` the number of partitions by topic.
    """
    assigned: Assignment = {member: [] for member in subscriptions}
    for topic in sorted(partitions):
        members = sorted(member for member, topics in subscriptions.items() if topic in topics)
        if not members:
            continue
        share, left = divmod(partitions[topic], len(members))
        start = 0
        for position, member in enumerate(members):
            size = share + (position < left)
            assigned[member] += [(topic, partition) for partition in range(start, start + size)]
            start += size
    return assigned
