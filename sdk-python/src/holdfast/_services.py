"""The services as the Connect client calls them.

Written out here and not generated: the code that the generator makes fits one minor version of the
client alone, and the messages fit all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from typing import Any, TypeVar

from connectrpc import method
from connectrpc.client import ConnectClient
from connectrpc.method import IdempotencyLevel, MethodInfo
from protobuf import Message

from ._gen.holdfast.v1 import admin_pb, cluster_pb, lock_pb, session_pb

Req = TypeVar("Req", bound=Message[Any])
Res = TypeVar("Res", bound=Message[Any])
_NAMES_STREAMS = any(f.name == "stream_type" for f in fields(MethodInfo))  # from 0.13 on


def _method(
    service: str, name: str, request: type[Req], answer: type[Res], stream: str
) -> MethodInfo[Req, Res]:
    more: dict[str, Any] = {"stream_type": method.StreamType[stream]} if _NAMES_STREAMS else {}
    return MethodInfo(
        name=name,
        service_name=f"holdfast.v1.{service}",
        input=request,
        output=answer,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        **more,
    )


def _unary(
    service: str, name: str, request: type[Req], answer: type[Res]
) -> Callable[[ConnectClient, Req], Awaitable[Res]]:
    info = _method(service, name, request, answer, "UNARY")

    def call(client: ConnectClient, request: Req) -> Awaitable[Res]:
        return client.execute_unary(request=request, method=info)

    return call


def _stream(
    service: str, name: str, request: type[Req], answer: type[Res]
) -> Callable[[ConnectClient, Req], AsyncIterator[Res]]:
    info = _method(service, name, request, answer, "SERVER_STREAM")

    def call(client: ConnectClient, request: Req) -> AsyncIterator[Res]:
        return client.execute_server_stream(request=request, method=info)

    return call


class LockServiceClient(ConnectClient):
    _of = "LockService"
    execute = _unary(_of, "Execute", lock_pb.ExecuteRequest, lock_pb.ExecuteResponse)
    get_lock = _unary(_of, "GetLock", lock_pb.GetLockRequest, lock_pb.GetLockResponse)
    list_locks = _unary(_of, "ListLocks", lock_pb.ListLocksRequest, lock_pb.ListLocksResponse)
    watch_locks = _stream(_of, "WatchLocks", lock_pb.WatchLocksRequest, lock_pb.WatchLocksResponse)
    explain_wait = _unary(
        _of, "ExplainWait", lock_pb.ExplainWaitRequest, lock_pb.ExplainWaitResponse
    )


class SessionServiceClient(ConnectClient):
    _of = "SessionService"
    open_session = _unary(
        _of, "OpenSession", session_pb.OpenSessionRequest, session_pb.OpenSessionResponse
    )
    renew_session = _unary(
        _of, "RenewSession", session_pb.RenewSessionRequest, session_pb.RenewSessionResponse
    )
    close_session = _unary(
        _of, "CloseSession", session_pb.CloseSessionRequest, session_pb.CloseSessionResponse
    )
    list_sessions = _unary(
        _of, "ListSessions", session_pb.ListSessionsRequest, session_pb.ListSessionsResponse
    )
    events = _stream(_of, "Events", session_pb.EventsRequest, session_pb.EventsResponse)


class ClusterServiceClient(ConnectClient):
    _of = "ClusterService"
    get_status = _unary(_of, "GetStatus", cluster_pb.GetStatusRequest, cluster_pb.GetStatusResponse)
    add_member = _unary(_of, "AddMember", cluster_pb.AddMemberRequest, cluster_pb.AddMemberResponse)
    promote_member = _unary(
        _of, "PromoteMember", cluster_pb.PromoteMemberRequest, cluster_pb.PromoteMemberResponse
    )
    remove_member = _unary(
        _of, "RemoveMember", cluster_pb.RemoveMemberRequest, cluster_pb.RemoveMemberResponse
    )
    transfer_leadership = _unary(
        _of,
        "TransferLeadership",
        cluster_pb.TransferLeadershipRequest,
        cluster_pb.TransferLeadershipResponse,
    )


class AdminServiceClient(ConnectClient):
    _of = "AdminService"
    revoke_grant = _unary(
        _of, "RevokeGrant", admin_pb.RevokeGrantRequest, admin_pb.RevokeGrantResponse
    )
    revoke_session = _unary(
        _of, "RevokeSession", admin_pb.RevokeSessionRequest, admin_pb.RevokeSessionResponse
    )
    list_deadlocks = _unary(
        _of, "ListDeadlocks", admin_pb.ListDeadlocksRequest, admin_pb.ListDeadlocksResponse
    )
