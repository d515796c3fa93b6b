"""Stored credentials are those of RFC 5802 and RFC 7677; passwords are never seen."""

import base64
import hashlib

from images import cluster, replayed

from riverport.kafka.controller.scram import Scram, describe, keys_of
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

_Of = m.AlterUserScramCredentialsRequest


def test_keys_are_those_of_the_rfc_s_example() -> None:
    """RFC 7677, section 3: user "user", password "pencil"; its proofs follow from these two keys."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    stored, server = keys_of("sha256", salted)
    assert base64.b64encode(stored) == b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    assert base64.b64encode(server) == b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


def test_a_credential_is_described_without_what_is_in_it() -> None:
    image = cluster(1)
    outcome = Scram(image).alter(_Of([], [_Of.ScramCredentialUpsertion("u", 2, 5000, b"salt", b"x" * 64)]))
    replayed(outcome.records, image)
    (result,) = describe(image, m.DescribeUserScramCredentialsRequest(None)).results
    assert (result.user, [(info.mechanism, info.iterations) for info in result.credential_infos]) == ("u", [(2, 5000)])


def test_a_level_without_records_for_credentials_refuses_them() -> None:
    image = cluster(1, level=10)
    outcome = Scram(image).alter(_Of([], [_Of.ScramCredentialUpsertion("u", 1, 5000, b"salt", b"x" * 32)]))
    assert outcome.records == []
    assert outcome.response.results[0].error_code == ErrorCode.UNSUPPORTED_VERSION


def test_a_deleted_credential_is_gone_and_others_stay() -> None:
    image = cluster(1)
    for mechanism in (1, 2):
        change = _Of.ScramCredentialUpsertion("u", mechanism, 5000, b"salt", b"x")
        replayed(Scram(image).alter(_Of([], [change])).records, image)
    replayed(Scram(image).alter(_Of([_Of.ScramCredentialDeletion("u", 1)], [])).records, image)
    assert list(image.scram) == [("u", 2)]
