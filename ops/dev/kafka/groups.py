"""Consumer groups: members join, the leader assigns partitions, members send heartbeats and commit offsets.

The states and transitions are those of Apache Kafka's classic group protocol
(https://cwiki.apache.org/confluence/display/KAFKA/Kafka+Client-side+Assignment+Proposal). A group forms as soon as all
known members have joined; there is no initial delay.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import uuid4

from .errors import ErrorCode, KafkaError


class _State(Enum):
    EMPTY = auto()
    PREPARING = auto()  # waits until all members have joined (again)
    COMPLETING = auto()  # waits for the assignments of the leader
    STABLE = auto()


@dataclass(frozen=True)
class Joined:
    """The answer to a member that joined; only the leader gets ``members`` with their subscriptions."""

    generation: int
    protocol: str
    leader: str
    member_id: str
    members: dict[str, bytes]


@dataclass
class _Member:
    member_id: str
    session_seconds: float
    rebalance_seconds: float
    protocols: dict[str, bytes]
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = None
    syncing: asyncio.Future[bytes] | None = None
    expires_at: float = 0.0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Group:
    """One consumer group."""

    def __init__(self) -> None:
        self.offsets: dict[tuple[str, int], tuple[int, str | None]] = {}  # offset and metadata by partition
        self._state = _State.EMPTY
        self._generation = 0
        self._protocol = ""
        self._leader = ""
        self._members: dict[str, _Member] = {}
        self._deadline: asyncio.TimerHandle | None = None

    async def join(
        self, member_id: str, client_id: str, timeouts_seconds: tuple[float, float], protocols: dict[str, bytes]
    ) -> Joined:
        """Join, or join again, and return when the group has formed.

        ``timeouts_seconds`` are those of the member's session and of a rebalance.

        Raises KafkaError.
        """
        if not member_id:
            member_id = f"{client_id}-{uuid4()}"
        elif member_id not in self._members:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if not self._common_protocols([protocols]):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        known = self._members.get(member_id)
        if known and known.protocols == protocols and self._needs_no_rebalance(member_id):
            return self._joined(known)  # it has lost the first answer
        member = known or _Member(member_id, *timeouts_seconds, protocols)
        self._members[member_id] = member
        member.protocols = protocols
        if member.joining and not member.joining.done():  # from a connection that the client has given up
            member.joining.set_exception(KafkaError(ErrorCode.REBALANCE_IN_PROGRESS))
        joining = member.joining = asyncio.get_running_loop().create_future()
        self._prepare()
        self._complete_if_all_joined()
        return await joining

    def _needs_no_rebalance(self, member_id: str) -> bool:
        return self._state is _State.COMPLETING or (self._state is _State.STABLE and member_id != self._leader)

    async def sync(self, generation: int, member_id: str, assignments: dict[str, bytes]) -> bytes:
        """Return the assignment of the member when the leader has sent all ``assignments``. Raises KafkaError."""
        member = self._member(generation, member_id)
        if self._state is _State.PREPARING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        if self._state is _State.STABLE:
            return member.assignment
        if member_id == self._leader:
            self._state = _State.STABLE
            for each in self._members.values():
                each.assignment = assignments.get(each.member_id, b"")
                if each.syncing and not each.syncing.done():
                    each.syncing.set_result(each.assignment)
            return member.assignment
        member.syncing = asyncio.get_running_loop().create_future()
        return await member.syncing

    def heartbeat(self, generation: int, member_id: str) -> None:
        """Keep the member in the group. Raises KafkaError, also when it must join again."""
        self._member(generation, member_id)
        if self._state is _State.PREPARING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)

    def leave(self, member_id: str) -> None:
        """Remove the member. Raises KafkaError."""
        if member_id not in self._members:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        self._remove(self._members[member_id])

    def check_commit(self, generation: int, member_id: str) -> None:
        """Raise KafkaError unless the member of this generation may commit; a group without members accepts all."""
        if generation < 0 and not self._members:
            return
        self._member(generation, member_id)
        if self._state is _State.COMPLETING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)

    def forget_topic(self, name: str) -> None:
        """Delete the offsets of a topic that was deleted."""
        self.offsets = {place: offset for place, offset in self.offsets.items() if place[0] != name}

    def _member(self, generation: int, member_id: str) -> _Member:
        """Return the member and extend its session. Raises KafkaError."""
        member = self._members.get(member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if generation != self._generation:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        member.expires_at = time.monotonic() + member.session_seconds
        return member

    def _prepare(self) -> None:
        """Begin a rebalance: all members must join again within the longest of their rebalance timeouts."""
        if self._state is _State.PREPARING:
            return
        self._state = _State.PREPARING
        for member in self._members.values():
            if member.syncing and not member.syncing.done():
                member.syncing.set_exception(KafkaError(ErrorCode.REBALANCE_IN_PROGRESS))
            member.syncing = None
        seconds = max(member.rebalance_seconds for member in self._members.values())
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._complete)

    def _complete_if_all_joined(self) -> None:
        if self._state is _State.PREPARING and all(member.joining for member in self._members.values()):
            self._complete()

    def _complete(self) -> None:
        """Form the next generation of the members that have joined."""
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        for member in [each for each in self._members.values() if not each.joining]:
            self._forget(member)
        if not self._members:
            self._state = _State.EMPTY
            return
        self._state = _State.COMPLETING
        self._generation += 1
        self._protocol = self._common_protocols([])[0]
        if self._leader not in self._members:
            self._leader = next(iter(self._members))
        for member in self._members.values():
            joining, member.joining = member.joining, None
            self._start_session(member)
            if joining and not joining.done():
                joining.set_result(self._joined(member))

    def _joined(self, member: _Member) -> Joined:
        is_leader = member.member_id == self._leader
        members = {each.member_id: each.protocols[self._protocol] for each in self._members.values()}
        return Joined(self._generation, self._protocol, self._leader, member.member_id, members if is_leader else {})

    def _common_protocols(self, further: Iterable[dict[str, bytes]]) -> list[str]:
        """Return the assignment strategies that all members and ``further`` support, the preferred one first."""
        offered = [*(member.protocols for member in self._members.values()), *further]
        return [name for name in offered[-1] if all(name in protocols for protocols in offered)]

    def _start_session(self, member: _Member) -> None:
        member.expires_at = time.monotonic() + member.session_seconds
        if member.timer is None:
            self._check_session(member)

    def _check_session(self, member: _Member) -> None:
        """Remove a member that sent no heartbeat for its session timeout. A member that joins is waited for."""
        member.timer = None
        remaining = member.expires_at - time.monotonic()
        if remaining <= 0 and not member.joining:
            self._remove(member)
        else:
            seconds = remaining if remaining > 0 else member.session_seconds
            member.timer = asyncio.get_running_loop().call_later(seconds, self._check_session, member)

    def _remove(self, member: _Member) -> None:
        self._forget(member)
        if self._members:
            self._prepare()
            self._complete_if_all_joined()
        else:
            self._complete()

    def _forget(self, member: _Member) -> None:
        self._members.pop(member.member_id, None)
        if member.timer:
            member.timer.cancel()
        for waiting in (member.joining, member.syncing):
            if waiting and not waiting.done():
                waiting.set_exception(KafkaError(ErrorCode.UNKNOWN_MEMBER_ID))
