"""SCRAM credentials of users, kept in the metadata log (KIP-554, KIP-900).

What is stored are the two keys that RFC 5802 derives from the salted password; the password itself is never known here.
"""

import hashlib
import hmac
from typing import Any

from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

SCRAM_SINCE = 11
"""The metadata.version (3.5-IV2) from which credentials are records."""
MECHANISMS = {1: "sha256", 2: "sha512"}
MIN_ITERATIONS, MAX_ITERATIONS = 4096, 16384

_Result = m.AlterUserScramCredentialsResponse.AlterUserScramCredentialsResult
_Described = m.DescribeUserScramCredentialsResponse


class Scram:
    """Decisions on credentials; the image is only read."""

    def __init__(self, image: MetadataImage) -> None:
        self._image = image

    def alter(self, request: m.AlterUserScramCredentialsRequest) -> Outcome:
        """Each user once, deleted or written."""
        changes: dict[str, Any] = {}
        errors: dict[str, ApiError] = {}
        asked: list[Any] = [*request.deletions, *request.upsertions]
        for change in asked:
            name: str = change.name
            if name in errors:
                continue
            if changes.pop(name, None) is not None:
                text = "A user credential cannot be altered twice in the same request"
                errors[name] = ApiError(ErrorCode.DUPLICATE_RESOURCE, text)
                continue
            try:
                changes[name] = self._record(change)
            except ApiError as refused:
                errors[name] = refused
        results = [_Result(name, 0, None) for name in changes]
        results += [_Result(name, error.code, error.message) for name, error in errors.items()]
        return Outcome(m.AlterUserScramCredentialsResponse(results=results), list(changes.values()))

    def _record(self, change: Any) -> Any:
        """Raises ApiError."""
        if self._image.features.get(features.METADATA_VERSION, 0) < SCRAM_SINCE:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, "The current metadata.version does not support SCRAM")
        if not change.name:
            raise ApiError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
        if change.mechanism not in MECHANISMS:
            raise ApiError(ErrorCode.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
        if isinstance(change, m.AlterUserScramCredentialsRequest.ScramCredentialDeletion):
            if (change.name, change.mechanism) not in self._image.scram:
                text = "Attempt to delete a user credential that does not exist"
                raise ApiError(ErrorCode.RESOURCE_NOT_FOUND, text)
            return m.RemoveUserScramCredentialRecord(change.name, change.mechanism)
        if change.iterations < MIN_ITERATIONS:
            raise ApiError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too few iterations")
        if change.iterations > MAX_ITERATIONS:
            raise ApiError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too many iterations")
        stored, server = keys_of(MECHANISMS[change.mechanism], bytes(change.salted_password))
        return m.UserScramCredentialRecord(
            change.name, change.mechanism, bytes(change.salt), stored, server, change.iterations
        )


def keys_of(algorithm: str, salted_password: bytes) -> tuple[bytes, bytes]:
    """(StoredKey, ServerKey) of RFC 5802, section 3."""
    client = hmac.digest(salted_password, b"Client Key", algorithm)
    return hashlib.new(algorithm, client).digest(), hmac.digest(salted_password, b"Server Key", algorithm)


def describe(image: MetadataImage, request: m.DescribeUserScramCredentialsRequest) -> _Described:
    """Mechanisms and iterations of the named users, of all without names."""
    names = [user.name for user in request.users or ()] or sorted({name for name, _ in image.scram})
    info = _Described.CredentialInfo
    results = []
    for name in dict.fromkeys(names):
        code, message = 0, ""
        infos = [info(mechanism, image.scram[(name, mechanism)].iterations) for mechanism in _mechanisms(image, name)]
        if names.count(name) > 1:
            code, infos = ErrorCode.DUPLICATE_RESOURCE, []
            message = f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
        elif not infos:
            code = ErrorCode.RESOURCE_NOT_FOUND
            message = f"Attempt to describe a user credential that does not exist: {name}"
        results.append(_Described.DescribeUserScramCredentialsResult(name, code, message, infos))
    return _Described(error_message="", results=results)


def _mechanisms(image: MetadataImage, name: str) -> list[int]:
    return [mechanism for mechanism in MECHANISMS if (name, mechanism) in image.scram]
