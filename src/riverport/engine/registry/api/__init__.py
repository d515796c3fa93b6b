"""The endpoints of the registry, one module per noun; they parse, call `store.py` and word the answer.

listings.py    the base, the catalog, tags, referrers
manifests.py   manifests by tag and by digest
blobs.py       blobs, whole and in ranges
uploads.py     how blobs come: at once, in chunks, from another repository
"""
