"""Changes of feature levels; what Apache Kafka answers word for word is in the conversation with it (server/api)."""

from typing import Any

import pytest
from images import broker_record, cluster, replayed

from riverport.kafka.controller import features
from riverport.kafka.controller.feature_updates import SAFE_DOWNGRADE, UNSAFE_DOWNGRADE, UPGRADE, FeatureUpdates
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

MV, ELR, KRAFT = features.METADATA_VERSION, features.ELR_VERSION, features.KRAFT_VERSION


def update(
    image: MetadataImage, *wanted: tuple[str, int, int], validate_only: bool = False, kraft_version: int = 0
) -> Outcome:
    of = m.UpdateFeaturesRequest
    keys = [of.FeatureUpdateKey(name, level, upgrade_type=kind) for name, level, kind in wanted]
    updates = FeatureUpdates(image, 1, lambda: 2)
    return updates.update(of(1000, keys, validate_only), 2, kraft_version)


def applied(image: MetadataImage, *wanted: tuple[str, int, int]) -> MetadataImage:
    outcome = update(image, *wanted)
    assert outcome.response.error_code == 0, outcome.response.error_message
    return replayed(outcome.records, image)


def refused(outcome: Outcome) -> str:
    assert outcome.response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert (outcome.records, outcome.control) == ([], [])
    message: Any = outcome.response.error_message
    return str(message)


def test_a_cluster_goes_up_through_every_release() -> None:
    image = cluster(1, level=7)
    for level in range(8, features.NEWEST_STABLE + 1):
        applied(image, (MV, level, UPGRADE))
        assert image.features[MV] == level


def test_a_level_may_be_set_to_what_it_is() -> None:
    image = cluster(1)
    applied(image, (MV, features.DEFAULT_RELEASE, UPGRADE))
    assert image.features == {MV: features.DEFAULT_RELEASE}


@pytest.mark.parametrize(("level", "lower"), [(29, 28), (29, 23), (22, 17), (10, 8), (31, 30)])
@pytest.mark.parametrize("kind", [SAFE_DOWNGRADE, UNSAFE_DOWNGRADE])
def test_a_way_down_is_open_while_records_stay_the_same(level: int, lower: int, kind: int) -> None:
    image = cluster(1, level=level)
    assert applied(image, (MV, lower, kind)).features[MV] == lower


@pytest.mark.parametrize(("level", "lower"), [(30, 29), (23, 22), (17, 16), (33, 31), (8, 7)])
def test_no_way_down_leads_below_new_records(level: int, lower: int) -> None:
    image = cluster(1, level=level)
    assert "might delete metadata" in refused(update(image, (MV, lower, SAFE_DOWNGRADE)))
    assert "Unsafe metadata downgrade is not" in refused(update(image, (MV, lower, UNSAFE_DOWNGRADE)))


def test_a_broker_that_does_not_know_the_level_holds_it_back() -> None:
    image = cluster(1)
    old = broker_record(2)
    old.features = [m.RegisterBrokerRecord.BrokerFeature(MV, 7, 30)]
    replayed([old], image)
    assert "Broker 2 only supports versions 7-30" in refused(update(image, (MV, 31, UPGRADE)))
    assert "Broker 2 does not support this feature." in refused(update(image, ("group.version", 1, UPGRADE)))


def test_another_controller_that_does_not_know_the_level_holds_it_back() -> None:
    image = cluster(1)
    of = m.RegisterControllerRecord
    replayed([of(3, bytes(16), False, features=[of.ControllerFeature(MV, 7, 30)])], image)
    assert "Controller 3 only supports versions 7-30" in refused(update(image, (MV, 31, UPGRADE)))


def test_one_refused_update_refuses_all() -> None:
    image = cluster(1)
    refused(update(image, ("group.version", 1, UPGRADE), ("share.version", 9, UPGRADE)))


def test_validation_writes_nothing() -> None:
    outcome = update(cluster(1), ("group.version", 1, UPGRADE), (KRAFT, 1, UPGRADE), validate_only=True)
    assert (outcome.response.error_code, outcome.records, outcome.control) == (0, [], [])


def test_a_feature_that_is_turned_off_is_not_listed_any_more() -> None:
    image = cluster(1, group_version=1)
    assert applied(image, ("group.version", 0, SAFE_DOWNGRADE)).features == {MV: features.DEFAULT_RELEASE}


def test_eligible_leader_replicas_need_their_records() -> None:
    message = refused(update(cluster(1, level=22), (ELR, 1, UPGRADE)))
    assert message.endswith(f"{ELR} could not be set to 1 because it depends on {MV} level 23")


def test_a_dependency_may_be_met_by_the_same_request() -> None:
    image = applied(cluster(1, level=22), (MV, 30, UPGRADE), (ELR, 1, UPGRADE))
    assert image.features == {MV: 30, ELR: 1}


def test_eligible_leader_replicas_take_min_insync_replicas_from_brokers_to_the_cluster() -> None:
    image = cluster(1, 2)
    replayed([m.ConfigRecord(4, "2", "min.insync.replicas", "3"), m.ConfigRecord(4, "2", "other", "x")], image)
    applied(image, (ELR, 1, UPGRADE))
    assert image.configs == {(4, "2"): {"other": "x"}, (4, ""): {"min.insync.replicas": "2"}}


def test_eligible_leader_replicas_leave_a_cluster_s_min_insync_replicas() -> None:
    image = replayed([m.ConfigRecord(4, "", "min.insync.replicas", "5")], cluster(1))
    applied(image, (ELR, 1, UPGRADE))
    assert image.configs == {(4, ""): {"min.insync.replicas": "5"}}


def test_the_quorum_s_own_level_goes_into_a_control_record() -> None:
    outcome = update(cluster(1), (KRAFT, 1, UPGRADE))
    assert (outcome.records, outcome.control) == ([], [m.KRaftVersionRecord(0, 1)])
    assert update(cluster(1), (KRAFT, 1, UPGRADE), kraft_version=1).control == []
    assert "Can't downgrade" in refused(update(cluster(1), (KRAFT, 0, SAFE_DOWNGRADE), kraft_version=1))
