"""The audit, as the gateway writes it: an entry is on the brokers before its answer goes out."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from opentelemetry import trace

from libs.common.events import AuditEntry
from services.gateway.api.problems import Refused
from services.gateway.core.access import Principal


class AuditDown(Exception):
    """The brokers did not take an entry."""


class Audit:
    """Sends entries; `send` returns when all in-sync replicas have one, and raises AuditDown otherwise.

    Entries of requests that run at the same time share a batch, so that a read waits one round trip at most.
    """

    def __init__(
        self,
        send: Callable[[AuditEntry], Awaitable[None]],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._send, self._now, self._new_id = send, now, new_id

    async def record(
        self,
        *,
        principal: Principal,
        action: str,
        resource: str,
        outcome: str,
        classifications: list[str],
        masked: list[str],
        details: dict[str, Any],
    ) -> None:
        """Record one read or write; raises Refused(503): what cannot be audited is not answered."""
        context = trace.get_current_span().get_span_context()
        entry = AuditEntry.build(
            id=self._new_id(),
            at=self._now(),
            actor=principal.subject,
            roles=list(principal.roles),
            action=action,
            resource=resource,
            outcome=outcome,
            classifications=classifications,
            masked=masked,
            details=details,
            trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
        )
        try:
            await self._send(entry)
        except AuditDown as error:
            raise Refused(503, "audit_unavailable", "the brokers did not take the audit record") from error
