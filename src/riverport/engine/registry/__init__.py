"""A registry of container images and other artifacts: OCI distribution 1.1 over files and one SQLite database.

    server.py ─ application.py ─ api/            listeners; route and permission; the endpoints by noun
                     │
      access.py  basic.py  tokens.py             who may do what
      store.py ─ uploads.py  blobs.py  index.py  sessions that grow, files by digest, everything else
      collector.py                               frees what nothing names, also while clients push
      proxy.py  upstream.py                      another registry, pulled through
      manifests.py  digests.py  names.py  ranges.py   pure: what clients send, read and checked

What a 201 promises is on the disk before the answer goes out. A blob is seen as a whole or not at all: its bytes arrive
in an upload, are hashed and synced there, and get their name by a rename (`index.py` has the two rules that keep files
and rows together). Several registries may run in one process.

Sources: OCI distribution specification 1.1 (with `?tag=` and `digest-algorithm` of its development version), OCI image
specification 1.1, Docker Registry HTTP API V2 (authentication, catalog).
"""
