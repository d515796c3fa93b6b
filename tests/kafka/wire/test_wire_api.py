"""API keys, version ranges, headers, and the generated stubs."""

from pathlib import Path

from tests.kafka.wire.official import snake
from tests.kafka.wire.values import every_message

from riverport.kafka.wire import frame, messages, stubs
from riverport.kafka.wire.api import ApiKey, apis
from riverport.kafka.wire.errors import ErrorCode


def test_every_api_of_the_table_has_its_key() -> None:
    assert {api.key: snake(api.name).upper() for api in apis().values()} == {key.value: key.name for key in ApiKey}


def test_requests_and_responses_have_the_same_versions() -> None:
    for api in apis().values():
        assert api.request._message.versions == api.response._message.versions == api.versions
        assert api.request._message.flexible == api.flexible
        assert api.request._message.key == api.response._message.key == api.key


def test_an_unstable_version_is_not_advertised() -> None:
    held_back = {api.name: (api.stable_high, api.versions.high) for api in apis().values()}
    assert {name: pair for name, pair in held_back.items() if pair[0] != pair[1]} == {"InitProducerId": (5, 6)}


def test_error_codes_have_no_gap() -> None:
    assert sorted(ErrorCode) == list(range(-1, 137))


def test_the_stubs_are_those_of_the_table() -> None:
    written = Path(messages.__file__ or "").with_suffix(".pyi").read_text(encoding="ascii")
    assert written == stubs.render(), "run python -m riverport.kafka.wire.stubs"


def test_every_message_is_listed_and_made_once() -> None:
    assert set(every_message()) <= set(dir(messages))
    assert messages.MetadataRequest is messages.MetadataRequest
    assert not hasattr(messages, "NoSuchRequest")


def test_request_headers_are_read_as_written() -> None:
    for api in apis().values():
        for version in (api.versions.low, api.versions.high):
            for client_id in (None, "", "client-é"):
                head = frame.request_head(api.key, version, 77, client_id, 10)
                assert int.from_bytes(head[:4], "big") == len(head) - 4 + 10
                header, end = frame.read_request_header(memoryview(head)[4:])
                assert (header.api_key, header.api_version, header.correlation_id) == (api.key, version, 77)
                assert (header.client_id, end) == (client_id, len(head) - 4)


def test_response_headers_are_read_as_written() -> None:
    for flexible in (False, True):
        head = frame.response_head(flexible, 1234, 5)
        assert int.from_bytes(head[:4], "big") == len(head) - 4 + 5
        assert frame.read_response_header(memoryview(head)[4:], flexible) == (1234, len(head) - 4)


def test_api_versions_answers_always_have_the_old_header() -> None:
    assert [frame.flexible_response(ApiKey.API_VERSIONS, version) for version in range(5)] == [False] * 5
    assert frame.flexible_response(ApiKey.PRODUCE, 9)
    assert not frame.flexible_response(ApiKey.PRODUCE, 8)
