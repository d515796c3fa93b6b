"""Voters that come, go and move while the quorum works (KIP-853, KIP-1186)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from riverport.base.ids import SystemIds, uuid_text
from riverport.base.ports import steady_ports
from riverport.kafka.client.connection import Connection
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.settings import load
from riverport.kafka.server.storage_format import Quorum, format_storage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing.hosted_node import UnsyncedFiles

CLUSTER = "4L6g3nShT-eMCtK--X86sw"
WAIT_SECONDS = 20


class Controllers:
    """Controllers on one loop, each in a directory of its own; `nodes` are those that run."""

    def __init__(self, dir: Path, count: int) -> None:
        self.dir = dir
        self.ports = steady_ports(count)
        self.directories = [SystemIds().uuid() for _ in self.ports]
        self.nodes: dict[int, Node] = {}

    def properties(self, id_: int, **more: str) -> dict[str, str]:
        return {
            "process.roles": "controller",
            "node.id": str(id_),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CONTROLLER://127.0.0.1:{self.ports[id_ - 1]}",
            "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{port}" for port in self.ports),
            "controller.quorum.election.timeout.ms": "300",
            "controller.quorum.fetch.timeout.ms": "600",
            "log.dirs": str(self.dir / f"node-{id_}"),
            **{key.replace("_", "."): value for key, value in more.items()},
        }

    def initial(self, *ids: int) -> Quorum:
        named = (f"{i}@127.0.0.1:{self.ports[i - 1]}:{uuid_text(self.directories[i - 1])}" for i in ids)
        return Quorum(initial_controllers=",".join(named))

    async def start(self, *ids: int, quorum: Quorum | None = None, **more: str) -> None:
        """Start nodes; with `quorum` they are new ones."""
        starting = []
        for id_ in ids:
            config, files = load(self.properties(id_, **more)), UnsyncedFiles()
            if quorum is not None:
                format_storage(files, SystemIds(), config, CLUSTER, now_ms=1, quorum=quorum)
            self.nodes[id_] = Node(config, asyncio.get_running_loop(), files=files)
            starting.append(self.nodes[id_].start())
        await asyncio.gather(*starting)

    async def stop(self, *ids: int) -> None:
        for id_ in ids or list(self.nodes):
            await self.nodes.pop(id_).stop()

    @property
    def leader(self) -> Node | None:
        active = [node for node in self.nodes.values() if node.metadata.is_active]
        return max(active, key=lambda node: node.metadata.epoch, default=None)

    async def led(self) -> Node:
        await until(lambda: self.leader is not None)
        assert self.leader is not None
        return self.leader

    def voters(self) -> set[tuple[int, ...]]:
        """What each of the nodes takes for the voters."""
        return {node.metadata.quorum.voters.ids for node in self.nodes.values()}

    async def ask(self, request: Any) -> Any:
        """Ask the leader."""
        node = await self.led()
        async with await Connection.open("127.0.0.1", node.ports["CONTROLLER"]) as connection:
            return await connection.request(request)

    def added(self, id_: int) -> m.AddRaftVoterRequest:
        node, of = self.nodes[id_], m.AddRaftVoterRequest
        listener = of.Listener("CONTROLLER", "127.0.0.1", self.ports[id_ - 1])
        return of(CLUSTER, 10_000, id_, node.directories.id_of(node.config.metadata_log_dir), [listener])

    def removed(self, id_: int) -> m.RemoveRaftVoterRequest:
        node = self.nodes[id_]
        return m.RemoveRaftVoterRequest(CLUSTER, id_, node.directories.id_of(node.config.metadata_log_dir))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - several nodes, any of which may make it true
            await asyncio.sleep(0.01)


def run(dir: Path, count: int, scenario: Callable[[Controllers], Awaitable[None]]) -> None:
    async def whole() -> None:
        controllers = Controllers(dir, count)
        try:
            await scenario(controllers)
        finally:
            await controllers.stop()

    asyncio.run(whole())


def is_level(leader: Node, id_: int) -> bool:
    leading = leader.metadata.quorum.leading
    return leading is not None and any(
        key.id == id_ and progress.last_caught_up_ms > 0 for key, progress in leading.observers.items()
    )


async def write(node: Node, name: str) -> None:
    await node.metadata.submit(lambda: Outcome(None, [m.ConfigRecord(16, name, "interval.ms", "1")]))


def test_controllers_formatted_together_elect_one_and_note_the_voters_in_their_log(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, 2, 3, quorum=controllers.initial(1, 2, 3))
        leader = await controllers.led()
        await write(leader, "a")
        assert controllers.voters() == {(1, 2, 3)}
        assert leader.metadata.kraft_version == 1
        assert leader.metadata.history.offset >= 0
        directories = [voter.key.directory for voter in leader.metadata.quorum.voters]
        assert directories == controllers.directories

    run(tmp_path, 3, scenario)


def test_a_controller_alone_gets_company_and_hands_over(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, quorum=Quorum(standalone=True))
        first = await controllers.led()
        await write(first, "a")
        await controllers.start(2, 3, quorum=Quorum(no_initial_controllers=True))
        for id_ in (2, 3):
            # Until it has been seen to be level with the log it cannot be added.
            await until(lambda id_=id_: is_level(first, id_))  # type: ignore[misc]
            answer = await controllers.ask(controllers.added(id_))
            assert (answer.error_code, answer.error_message) == (0, None)
        await until(lambda: controllers.voters() == {(1, 2, 3)})
        await controllers.stop(1)
        second = await controllers.led()
        await write(second, "b")
        assert second.node_id in (2, 3)

    run(tmp_path, 3, scenario)


def test_a_leader_that_is_removed_leads_until_that_is_committed(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, 2, 3, quorum=controllers.initial(1, 2, 3))
        first = await controllers.led()
        answer = await controllers.ask(controllers.removed(first.node_id))
        assert (answer.error_code, answer.error_message) == (0, None)
        await until(lambda: not first.metadata.is_active and controllers.leader is not None)
        second = await controllers.led()
        await write(second, "a")
        rest = tuple(id_ for id_ in (1, 2, 3) if id_ != first.node_id)
        await until(lambda: controllers.voters() == {rest})
        await until(lambda: first.metadata.image.offset == second.metadata.image.offset)
        assert first.metadata.quorum.role == "observer"

    run(tmp_path, 3, scenario)


def test_what_cannot_be_changed_is_refused(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, quorum=Quorum(standalone=True))
        await controllers.led()
        assert (await controllers.ask(controllers.removed(1))).error_code == ErrorCode.VOTER_NOT_FOUND
        assert (await controllers.ask(controllers.added(1))).error_code == ErrorCode.DUPLICATE_VOTER
        stranger = m.RemoveRaftVoterRequest("another", 1, bytes(16))
        assert (await controllers.ask(stranger)).error_code == ErrorCode.INCONSISTENT_CLUSTER_ID
        nobody = m.AddRaftVoterRequest(CLUSTER, 1_000, 2, bytes(16), [])
        assert (await controllers.ask(nobody)).error_code == ErrorCode.INVALID_REQUEST
        listener = m.AddRaftVoterRequest.Listener("CONTROLLER", "127.0.0.1", controllers.ports[1])
        absent = m.AddRaftVoterRequest(CLUSTER, 1_000, 2, bytes(15) + b"2", [listener])
        assert (await controllers.ask(absent)).error_code == ErrorCode.REQUEST_TIMED_OUT

    run(tmp_path, 2, scenario)


def test_a_controller_adds_itself_where_that_is_wanted(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, quorum=Quorum(standalone=True))
        await controllers.led()
        join = {"controller_quorum_auto_join_enable": "true"}
        await controllers.start(2, quorum=Quorum(no_initial_controllers=True), **join)
        await until(lambda: controllers.voters() == {(1, 2)})

    run(tmp_path, 2, scenario)


def test_a_voter_that_moved_tells_the_leader_where_it_is(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, 2, 3, quorum=controllers.initial(1, 2, 3))
        leader = await controllers.led()
        moved = next(id_ for id_ in (1, 2, 3) if id_ != leader.node_id)
        await controllers.stop(moved)
        (controllers.ports[moved - 1],) = steady_ports(1)
        await controllers.start(moved)

        def known() -> set[int]:
            sets = [node.metadata.quorum.voters for node in controllers.nodes.values()]
            return {voters.get(moved).address.port for voters in sets}  # type: ignore[union-attr]

        await until(lambda: known() == {controllers.ports[moved - 1]})

    run(tmp_path, 3, scenario)


def test_a_voter_alone_that_moved_notes_where_it_is(tmp_path: Path) -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start(1, quorum=Quorum(standalone=True))
        await controllers.stop(1)
        (controllers.ports[0],) = steady_ports(1)
        await controllers.start(1)
        node = await controllers.led()
        await write(node, "a")
        assert [voter.address.port for voter in node.metadata.quorum.voters] == controllers.ports
        end = node.metadata.next_offset
        await controllers.stop(1)
        await controllers.start(1)
        records = dict(controllers.nodes[1].metadata.control_in_log(end))
        assert not any(isinstance(message, m.VotersRecord) for message in records.values())  # it is where it was

    run(tmp_path, 1, scenario)


@pytest.mark.parametrize("count", [1, 3])
def test_a_static_quorum_becomes_a_dynamic_one(tmp_path: Path, count: int) -> None:
    async def scenario(controllers: Controllers) -> None:
        ids = range(1, count + 1)
        static = ",".join(f"{id_}@127.0.0.1:{controllers.ports[id_ - 1]}" for id_ in ids)
        await controllers.start(*ids, quorum=Quorum(), controller_quorum_voters=static)
        leader = await controllers.led()
        await until(lambda: len(leader.metadata.image.controllers) == count)
        of = m.UpdateFeaturesRequest
        answer = await controllers.ask(of(feature_updates=[of.FeatureUpdateKey("kraft.version", 1)]))
        assert (answer.error_code, answer.error_message) == (0, None)
        assert leader.metadata.kraft_version == 1
        named = [voter.key.directory for voter in leader.metadata.quorum.voters]
        assert named == [
            node.directories.id_of(node.config.metadata_log_dir) for _, node in sorted(controllers.nodes.items())
        ]
        await controllers.stop()
        await controllers.start(*ids, controller_quorum_voters=static)
        await write(await controllers.led(), "a")
        assert controllers.voters() == {tuple(ids)}

    run(tmp_path, count, scenario)
