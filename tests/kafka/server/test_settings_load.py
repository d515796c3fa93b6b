from collections.abc import Mapping

import pytest

from riverport.base.settings import ConfigError
from riverport.kafka.server.endpoints import Address, Endpoint
from riverport.kafka.server.settings import BrokerConfig, load, remarks

COMBINED = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@localhost:9093",
    "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
    "controller.listener.names": "CONTROLLER",
    "log.dirs": "/data/a,/data/b",
}
BROKER = COMBINED | {
    "process.roles": "broker",
    "node.id": "2",
    "listeners": "PLAINTEXT://127.0.0.1:9092",
}
CONTROLLER = COMBINED | {"process.roles": "controller", "listeners": "CONTROLLER://127.0.0.1:9093"}


def combined(**changes: str | None) -> dict[str, str]:
    return given(COMBINED, changes)


def given(base: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """`base` with changes; `__` in a name stands for a dot, None removes a key."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in (dict(base) | named).items() if value is not None}


def problems(texts: Mapping[str, str]) -> str:
    with pytest.raises(ConfigError) as raised:
        load(texts)
    return str(raised.value)


def endpoints(text: tuple[Endpoint, ...]) -> list[str]:
    return [f"{e.listener}/{e.protocol}://{e.host}:{e.port}" for e in text]


def test_a_combined_node() -> None:
    config = load(COMBINED)
    assert (config.node_id, config.is_broker, config.is_controller) == (1, True, True)
    assert config["broker.id"] == 1
    assert config.values.given["broker.id"] == "1"
    assert config.log_dirs == ("/data/a", "/data/b")
    assert config.metadata_log_dir == "/data/a"
    assert config.voters == {1: Address("localhost", 9093)}
    assert endpoints(config.broker_listeners) == ["PLAINTEXT/PLAINTEXT://127.0.0.1:9092"]
    assert endpoints(config.advertised_listeners) == ["PLAINTEXT/PLAINTEXT://127.0.0.1:9092"]
    assert endpoints(config.advertised_controller_listeners) == ["CONTROLLER/PLAINTEXT://127.0.0.1:9093"]
    assert (config.inter_broker_listener, config.inter_broker_protocol) == ("PLAINTEXT", "PLAINTEXT")
    assert config["num.partitions"] == 1


def test_a_broker_and_a_controller_alone() -> None:
    broker, controller = load(BROKER), load(CONTROLLER)
    assert (broker.is_broker, broker.is_controller) == (True, False)
    assert (controller.is_broker, controller.is_controller) == (False, True)
    assert broker.controller_listeners == ()
    assert controller.broker_listeners == ()


def test_the_first_controller_listener_without_a_host_is_found_under_its_voter_address() -> None:
    config = load(combined(listeners="PLAINTEXT://:9092,CONTROLLER://:9093"))
    assert endpoints(config.advertised_controller_listeners) == ["CONTROLLER/PLAINTEXT://localhost:9093"]
    dynamic = load(
        combined(
            listeners="PLAINTEXT://:9092,CONTROLLER://:9093",
            controller__quorum__voters=None,
            controller__quorum__bootstrap__servers="localhost:9093",
        )
    )
    assert endpoints(dynamic.advertised_controller_listeners) == ["CONTROLLER/PLAINTEXT://:9093"]
    assert dynamic.bootstrap_servers == (Address("localhost", 9093),)


def test_listeners_of_their_own_names() -> None:
    config = load(combined(
        listeners="internal://:9094,EXTERNAL://:9092,CONTROLLER://:9093",
        advertised__listeners="INTERNAL://a:1,EXTERNAL://b:1",
        listener__security__protocol__map="INTERNAL:PLAINTEXT,EXTERNAL:SSL,CONTROLLER:PLAINTEXT",
        inter__broker__listener__name="INTERNAL",
    ))  # fmt: skip
    assert endpoints(config.advertised_listeners) == ["INTERNAL/PLAINTEXT://a:1", "EXTERNAL/SSL://b:1"]
    assert config.inter_broker_listener == "INTERNAL"


def test_times_come_from_the_finest_unit_that_is_given() -> None:
    plain = load(COMBINED)
    assert plain.log_retention_ms == plain.log_roll_ms == 168 * 3_600_000
    assert plain.log_roll_jitter_ms == 0
    assert plain.log_flush_interval_ms == 2**63 - 1
    minutes = load(combined(log__retention__minutes="2", log__retention__hours="9", log__roll__hours="3"))
    assert (minutes.log_retention_ms, minutes.log_roll_ms) == (120_000, 3 * 3_600_000)
    assert load(combined(log__retention__ms="7", log__retention__minutes="2")).log_retention_ms == 7
    assert load(combined(log__retention__hours="-1")).log_retention_ms == -1


def test_a_dynamic_value_hides_all_synonyms() -> None:
    config = load(combined(log__retention__minutes="2", num__partitions="3"))
    changed = config.overridden({"log.retention.ms": "5", "max.connections": "10"}, {"max.connections": "11"})
    assert changed.log_retention_ms == 5
    assert changed["max.connections"] == 11
    assert changed["num.partitions"] == 3
    assert config.log_retention_ms == 120_000


def test_a_listener_has_values_of_its_own() -> None:
    config = load(combined(max__connections="9", **{"listener.name.plaintext.max.connections": "3"}))
    assert config.listener_value("PLAINTEXT", "max.connections") == 3
    assert config.listener_value("OTHER", "max.connections") == 9


def test_connection_limits_per_address() -> None:
    config = load(combined(max__connections__per__ip="5", max__connections__per__ip__overrides="10.0.0.1:7, ::1:8"))
    assert [config.connections_limit_of(host) for host in ("10.0.0.1", "::1", "10.0.0.2")] == [7, 8, 5]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"process__roles": None}, "Missing required configuration process.roles"),
        ({"process__roles": "broker,zookeeper"}, "value zookeeper for configuration process.roles: String must"),
        ({"node__id": "-1"}, "Invalid value -1 for configuration node.id: Value must be at least 0"),
        ({"broker__id": "7"}, "node.id (1) and broker.id (7) must be equal"),
        ({"log__dirs": ""}, "log.dirs: List must not be empty"),
        ({"log__roll__ms": "0"}, "log.roll.ms must be at least 1"),
        ({"log__retention__minutes": "0"}, "log.retention.ms must be at least 1, or -1"),
        ({"log__cleaner__threads": "200"}, "log.cleaner.dedupe.buffer.size must be more than 1 MiB"),
        ({"cordoned__log__dirs": "*,/data/a"}, "cordoned.log.dirs must hold nothing else"),
        ({"cordoned__log__dirs": "/data/a,/data/c"}, "cordoned.log.dirs names /data/c"),
        ({"offsets__topic__compression__codec": "5"}, "offsets.topic.compression.codec must be 0 (none), 1"),
        ({"controller__quorum__voters": "1@localhost"}, "localhost is no address; write host:port"),
        ({"controller__quorum__voters": "localhost:1"}, "localhost:1 is no voter; write id@host:port"),
        ({"controller__quorum__bootstrap__servers": "localhost"}, "localhost is no address; write host:port"),
        ({"controller__quorum__voters": ""}, "must say where the controllers are"),
        ({"controller__quorum__voters": "2@localhost:9093"}, "controller.quorum.voters must hold it"),
        ({"listeners": "PLAINTEXT:9092"}, "PLAINTEXT:9092 is no listener; write NAME://host:port"),
        ({"listeners": "9092"}, "9092 is no listener; write NAME://host:port"),
        ({"listeners": "PLAINTEXT://:99999,CONTROLLER://:9093"}, "must lie between 0 and 65535"),
        ({"listeners": "PLAINTEXT://:1,plaintext://:2,CONTROLLER://:9093"}, "must have a name of its own"),
        ({"listeners": "PLAINTEXT://:9093,CONTROLLER://:9093"}, "port 9093 is used twice"),
        ({"listeners": "FAST://:9092,CONTROLLER://:9093"}, "no security protocol for listener FAST"),
        ({"listeners": "PLAINTEXT://:9092"}, "controller.listener.names holds CONTROLLER, which listeners does not"),
        ({"listener__security__protocol__map": "PLAINTEXT:TLS"}, "TLS for PLAINTEXT is not one of PLAINTEXT, SSL"),
        ({"listener__security__protocol__map": "PLAINTEXT"}, "PLAINTEXT is no pair; write name:value"),
        ({"listeners": "SSL://:9092,CONTROLLER://:9093"}, "no security protocol for listener CONTROLLER"),
        ({"advertised__listeners": "PLAINTEXT://0.0.0.0:9092"}, "cannot be 0.0.0.0"),
        ({"advertised__listeners": "SSL://a:9092"}, "inter.broker.listener.name PLAINTEXT must be one of"),
        ({"advertised__listeners": "PLAINTEXT://a:1,SSL://a:2"}, "advertised.listeners holds SSL"),
        ({"inter__broker__listener__name": "INSIDE"}, "listener.security.protocol.map must map INSIDE"),
        ({"inter__broker__listener__name": "A", "security__inter__broker__protocol": "PLAINTEXT"}, "not both be set"),
        ({"queued__max__request__bytes": "1"}, "must not be less than socket.request.max.bytes"),
        ({"max__connections__per__ip": "0"}, "max.connections.per.ip may only be 0 if"),
        ({"max__connections__per__ip__overrides": "a b:1"}, "a b:1 is not of the form host:count"),
        ({"max__connections__per__ip__overrides": "a:many"}, "a:many is not of the form host:count"),
        ({"max__connections__per__ip__overrides": "10"}, "10 is no pair"),
        ({"connections__max__idle__ms": "100"}, "connection.failed.authentication.delay.ms (100) must be less than"),
        ({"replica__fetch__wait__max__ms": "40000"}, "must not be greater than replica.socket.timeout.ms (30000)"),
        ({"group__consumer__session__timeout__ms": "1"}, "group.consumer.min.session.timeout.ms (45000) must not be"),
        ({"group__coordinator__rebalance__protocols": "consumer"}, "must contain classic"),
        ({"group__share__assignors": "simple,other"}, "exactly one assignor"),
    ],
)
def test_a_node_does_not_start_with(changes: dict[str, str | None], problem: str) -> None:
    assert problem in problems(combined(**changes))


def test_a_broker_is_no_voter_and_has_no_controller_listener() -> None:
    assert "controller.quorum.voters must not hold it" in problems(given(BROKER, {"node.id": "1"}))
    text = "PLAINTEXT://:9092,CONTROLLER://:9093"
    assert "without the controller role" in problems(given(BROKER, {"listeners": text}))
    mapped = given(BROKER, {"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT"})
    assert "must map CONTROLLER, which controller.listener.names holds" in problems(mapped)
    auto_join = given(BROKER, {"controller.quorum.auto.join.enable": "true"})
    assert "controller.quorum.auto.join.enable is for nodes" in problems(auto_join)


def test_a_controller_has_no_broker_listener() -> None:
    text = "PLAINTEXT://:9092,CONTROLLER://:9093"
    assert "may only hold those of controller.listener.names" in problems(given(CONTROLLER, {"listeners": text}))


def test_a_broker_without_a_listener_of_its_own() -> None:
    assert "a broker needs a listener" in problems(combined(listeners="CONTROLLER://:9093"))


def test_an_ipv4_and_an_ipv6_listener_may_share_a_port() -> None:
    listeners = "PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9092,CONTROLLER://:9093"
    mapping = "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"
    config = load(combined(listeners=listeners, listener__security__protocol__map=mapping))
    assert [e.host for e in config.broker_listeners] == ["127.0.0.1", "::1"]


def test_sasl_between_brokers_needs_its_mechanism_enabled() -> None:
    texts = combined(
        listeners="IN://:9092,CONTROLLER://:9093",
        listener__security__protocol__map="IN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        inter__broker__listener__name="IN",
        sasl__mechanism__inter__broker__protocol="PLAIN",
    )
    assert "PLAIN must be one of sasl.enabled.mechanisms" in problems(texts)
    assert load(texts | {"listener.name.in.sasl.enabled.mechanisms": "PLAIN"}).inter_broker_protocol == "SASL_PLAINTEXT"


def test_all_problems_are_told_at_once() -> None:
    text = problems(combined(node__id="x", num__partitions="0"))
    assert text.count("\n") == 1
    assert "node.id" in text
    assert "num.partitions" in text
    assert "listener.name.a.max.connections" in problems(combined(**{"listener.name.a.max.connections": "-1"}))


def remarks_of(**changes: str | None) -> dict[str, str]:
    return {remark.key: remark.text for remark in remarks(load(combined(**changes)))}


def test_nothing_is_said_about_a_plain_configuration() -> None:
    assert remarks_of() == {}


def test_unknown_keys_are_said_with_the_nearest_known_ones() -> None:
    said = remarks_of(log__retentoin__ms="5", zookeeper__connect="x", **{"listener.name.a.max.conections": "5"})
    assert said["log.retentoin.ms"].startswith("this setting is unknown and ignored; did you mean log.retention.ms or ")
    assert said["zookeeper.connect"] == "this setting is unknown and ignored"
    assert "did you mean max.connections" in said["listener.name.a.max.conections"]


def test_known_keys_without_effect_are_said() -> None:
    said = remarks_of(num__io__threads="4", log__dirs="/x", **{"listener.name.a.plain.sasl.jaas.config": "x"})
    assert set(said) == {"num.io.threads", "listener.name.a.plain.sasl.jaas.config"}
    assert set(said.values()) == {"this setting has no effect in Riverport yet"}


def test_keys_of_the_authorizer_are_known() -> None:
    said = remarks_of(**{"super.users": "User:admin", "allow.everyone.if.no.acl.found": "true"})
    assert set(said.values()) == {"this setting has no effect in Riverport yet"}


def test_keys_of_plug_ins_are_left_to_them() -> None:
    assert "rsm.config.bucket" not in remarks_of(**{"rsm.config.bucket": "b", "config.providers.env.class": "c"})


def test_doubtful_values_are_said() -> None:
    config = load(given(BROKER, {"broker.heartbeat.interval.ms": "9000", "num.partitions": "2"}))
    said = " ".join(remark.text for remark in remarks(config))
    assert "at most half of broker.session.timeout.ms" in said
    assert "num.partitions is a setting of controllers" in said


def test_a_configuration_is_a_broker_config() -> None:
    assert isinstance(load(COMBINED), BrokerConfig)
