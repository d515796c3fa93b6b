"""Images: what a reference means, what an image consists of, and how it comes and goes.

    reference.py      "busybox" → docker.io/library/busybox:latest
    manifests.py      manifests, indexes, configs, platforms; Docker's and OCI's forms as one
    blobs.py          content by digest on the disk; downloads that stopped half way and go on
    store.py          the images: names, digests, parents; what removing one takes along
    distribution.py   the client of a registry: authentication, mirrors, retries, uploads
    pull.py push.py   transfers, layers in parallel
    archive.py        save and load: OCI layout and the three forms of docker-archive
    progress.py       what a client sees meanwhile

An image's id is the digest of its config's bytes, so these bytes are kept as they came. A layer's blob is kept as it
came from a registry, too: compressing its files again gives another digest.
"""
