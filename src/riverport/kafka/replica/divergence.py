"""Where a follower's log leaves its leader's (KIP-101, KIP-279, KIP-595)."""

from riverport.kafka.log import Log


def truncation_point(log: Log, epoch: int, end_offset: int) -> int:
    """The offset to truncate to when the leader's greatest epoch not above ours is `epoch` and ends at `end_offset`.

    Both logs agree below it, or it ends an epoch of ours that the leader does not have: then the next fetch, in the
    epoch before, tells more. Each truncation drops at least our newest epoch, so this comes to an end.
    """
    own_end = log.log_end_offset
    own_epoch, own_epoch_end = log.offset_for_leader_epoch(epoch)
    if own_epoch < 0:
        # Nothing of ours is known to be that old: only the leader's word is left.
        return min(end_offset, own_end)
    if own_epoch != epoch:
        return min(own_epoch_end, own_end)
    return min(own_epoch_end, end_offset, own_end)
