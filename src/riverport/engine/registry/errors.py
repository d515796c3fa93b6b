"""What the registry answers instead of a result (OCI distribution 1.1, "Error Codes").

Clients decide by `code`: docker retries an upload on BLOB_UPLOAD_UNKNOWN, skopeo uploads a missing blob on
MANIFEST_BLOB_UNKNOWN. Several findings about one manifest are one answer with several entries.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding of an answer's `errors`."""

    code: str
    message: str
    detail: Any = None

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        return found if self.detail is None else {**found, "detail": self.detail}


class RegistryError(Exception):
    """The base; `status` is the HTTP status, `headers` go with the answer."""

    status = 400
    code = "UNSUPPORTED"
    message = "the operation is unsupported"

    def __init__(self, detail: Any = None, *, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message or self.message)
        self.entries: Sequence[Entry] = (Entry(self.code, message or self.message, detail),)
        self.headers = headers or {}

    def body(self) -> bytes:
        return json.dumps({"errors": [entry.document() for entry in self.entries]}).encode()


class BlobUnknown(RegistryError):
    status, code, message = 404, "BLOB_UNKNOWN", "blob unknown to registry"


class BlobUploadInvalid(RegistryError):
    status, code, message = 400, "BLOB_UPLOAD_INVALID", "blob upload invalid"


class BlobUploadUnknown(RegistryError):
    status, code, message = 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"


class OutOfOrder(RegistryError):
    """A chunk that does not begin where the upload ends."""

    status, code, message = 416, "BLOB_UPLOAD_INVALID", "the chunk does not begin where the upload ends"


class RangeNotSatisfiable(RegistryError):
    status, code, message = 416, "UNSUPPORTED", "the range lies outside of the blob"


class DigestInvalid(RegistryError):
    status, code, message = 400, "DIGEST_INVALID", "provided digest did not match uploaded content"


class SizeInvalid(RegistryError):
    status, code, message = 400, "SIZE_INVALID", "provided length did not match content length"


class TooLarge(RegistryError):
    status, code, message = 413, "SIZE_INVALID", "the content is larger than this registry takes"


class ManifestInvalid(RegistryError):
    status, code, message = 400, "MANIFEST_INVALID", "manifest invalid"


class ManifestTooLarge(RegistryError):
    status, code, message = 413, "MANIFEST_INVALID", "the manifest is larger than this registry takes"


class ManifestUnknown(RegistryError):
    status, code, message = 404, "MANIFEST_UNKNOWN", "manifest unknown"


class ManifestBlobUnknown(RegistryError):
    """Blobs or manifests that a manifest names and the repository lacks: one entry for each."""

    status, code, message = 400, "MANIFEST_BLOB_UNKNOWN", "manifest references a manifest or blob unknown to registry"

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__()
        self.entries = [Entry(self.code, self.message, {"digest": digest}) for digest in missing]


class NameInvalid(RegistryError):
    status, code, message = 400, "NAME_INVALID", "invalid repository name"


class NameUnknown(RegistryError):
    status, code, message = 404, "NAME_UNKNOWN", "repository name not known to registry"


class TagInvalid(RegistryError):
    """The specification has no code of its own for it; Docker's is optional and says more than MANIFEST_INVALID."""

    status, code, message = 400, "TAG_INVALID", "a tag has 1 to 128 letters, digits, '_', '.' and '-'"


class PageInvalid(RegistryError):
    status, code, message = 400, "PAGINATION_NUMBER_INVALID", "n is a whole number that is not negative"


class PreconditionFailed(RegistryError):
    status, code, message = 412, "DENIED", "the manifest has changed since it was read"


class Unauthorized(RegistryError):
    status, code, message = 401, "UNAUTHORIZED", "authentication required"


class Denied(RegistryError):
    status, code, message = 403, "DENIED", "requested access to the resource is denied"


class NotSupported(RegistryError):
    status, code, message = 405, "UNSUPPORTED", "the operation is unsupported"


class NotFound(RegistryError):
    status, code, message = 404, "UNSUPPORTED", "there is nothing at this path"


class TooManyRequests(RegistryError):
    status, code, message = 429, "TOOMANYREQUESTS", "too many requests"


class StorageFull(RegistryError):
    """The disk is full. 507 so that clients neither retry at once nor blame what they sent."""

    status, code, message = 507, "DENIED", "the registry's disk is full"


class StorageFailed(RegistryError):
    status, code, message = 500, "UNKNOWN", "the registry's disk failed"


class UpstreamFailed(RegistryError):
    """The registry behind this one did not answer, and nothing of it is kept here."""

    status, code, message = 502, "UNKNOWN", "the upstream registry does not answer"
