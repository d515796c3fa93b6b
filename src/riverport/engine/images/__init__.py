"""Images: what a reference means, what an image consists of, and how it comes and goes.

    reference.py      "busybox" → docker.io/library/busybox:latest
    platform.py       "linux/arm64/v8", and what runs what; processor.py what this machine does beyond that
    manifests.py      manifests, indexes, configs; Docker's and OCI's forms as one
    catalogue.py      names, digests, parents; removal.py what removing one takes along
    store.py          the images, as the other parts of the engine use them; listing.py selection.py how they are shown
    blobs.py          archives of layers by digest, as they came
    distribution.py   the client of a registry, on session.py (requests) and dialing.py (connections)
    pull.py push.py   transfers, layers in parallel; fetch.py layers that arrive, turns.py for several who want the same
    saving.py loading.py importing.py   archives: OCI layout and the three forms of docker-archive
    progress.py       what a client sees meanwhile

An image's id is the digest of its config's bytes, so these bytes are kept as they came. A layer's blob is kept as it
came from a registry, too: compressing its files again gives another digest.
"""
