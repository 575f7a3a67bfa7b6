"""Who asks: from the token to rights, masks and the audit of what was answered."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from libs.common.catalog import Kpi, Source
from libs.common.catalog.models import Permission
from libs.common.events import parse_series_key
from services.gateway.api.desk import Desk
from services.gateway.api.problems import Refused, not_found
from services.gateway.core.access import Principal, Rights
from services.gateway.core.masking import Veil
from services.gateway.core.sealing import BadToken
from services.gateway.core.tokens import BadCredential
from services.gateway.store import kpis as kpi_rows

A = TypeVar("A", bound=BaseModel)

_bearer = HTTPBearer(
    auto_error=False, description="A token of `POST /v1/token`, or of the configured issuer."
)


class Asker:
    """One principal over one request. Everything that is answered goes through its veil and `answer`."""

    def __init__(self, desk: Desk, principal: Principal) -> None:
        self.desk = desk
        self.principal = principal
        self.rights: Rights = desk.rights(principal)
        self.veil: Veil = desk.veil(self.rights)

    def require(self, *permissions: Permission) -> None:
        """Raise unless any of `permissions` is held."""
        if not self.rights.may(*permissions):
            raise Refused(403, "forbidden", f"this needs the permission: {' or '.join(permissions)}")

    def sees(self, kpi: str | None) -> bool:
        """Whether what speaks of this KPI may be shown; None speaks of none."""
        return kpi is None or self.rights.sees(self.desk.catalog.kpi(kpi))

    def kpi(self, id: str) -> Kpi:
        """A visible KPI in force, or 404."""
        kpi = self.desk.catalog.kpi(id)
        if kpi is None or not self.rights.sees(kpi):
            raise not_found(f"KPI {id}")
        return kpi

    def visible_kpis(self) -> list[str]:
        """Ids of the KPIs that may be seen."""
        return sorted(kpi.id for kpi in self.desk.catalog.kpis if self.rights.sees(kpi))

    def source(self, id: str) -> Source:
        source = self.desk.catalog.source(id)
        if source is None:
            raise not_found(f"source {id}")
        return source

    async def series_keys(self, kpi: Kpi, wanted: Mapping[str, str | None]) -> list[str]:
        """The clear keys of the KPI's series that match `wanted` as the asker sees them."""
        trial = self.desk.veil(self.rights)
        rows = await kpi_rows.series_of(self.desk.pool, kpi.id)
        return [row["series_key"] for row in rows if trial.selects(kpi.id, row["series"], wanted)]

    async def clear_key(self, kpi: Kpi, shown: str) -> str:
        """The clear key of the series that the asker knows as `shown`; 404 if there is none."""
        if not self.veil.masks_series(kpi.id, kpi.by):
            return shown
        trial = self.desk.veil(self.rights)
        wanted = parse_series_key(shown)
        for row in await kpi_rows.series_of(self.desk.pool, kpi.id):
            if trial.series(kpi.id, row["series"]) == wanted:
                return str(row["series_key"])
        raise not_found(f"series {shown}")

    def open_page(self, token: str | None, parameters: dict[str, Any]) -> list[Any] | None:
        """The key that a page token goes on after; None is the first page."""
        if token is None:
            return None
        try:
            return self.desk.seal.open_page(token, self._bound(parameters))
        except BadToken as error:
            raise Refused(422, "bad_page_token", str(error)) from error

    def next_page(self, after: list[Any] | None, parameters: dict[str, Any]) -> str | None:
        return None if after is None else self.desk.seal.page(after, self._bound(parameters))

    def _bound(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """A page token is its asker's own: it goes on from rows that another may not see."""
        return {**parameters, "subject": self.principal.subject}

    async def answer(self, answer: A, action: str, resource: str) -> A:
        """Let an answer out: what it shows of classified data is on record first."""
        if self.veil.shown:
            await self.record(action, resource)
        return answer

    async def record(
        self, action: str, resource: str, outcome: str = "done", details: dict[str, Any] | None = None
    ) -> None:
        """Write to the audit; returns when the brokers have it."""
        await self.desk.audit.record(
            principal=self.principal,
            action=action,
            resource=resource,
            outcome=outcome,
            classifications=sorted(self.veil.shown),
            masked=sorted(self.veil.masked),
            details=details or {},
        )


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def signed_in(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Asker:
    """The asker, or 401. Tokens come in the Authorization header only."""
    desk = desk_of(request)
    if credentials is None:
        raise Refused(
            401,
            "unauthenticated",
            "send a token: Authorization: Bearer …",
            headers={"www-authenticate": "Bearer"},
        )
    try:
        principal = await desk.identity.principal(credentials.credentials)
    except BadCredential as error:
        raise Refused(
            401,
            "unauthenticated",
            "the token is not valid, or no longer",
            headers={"www-authenticate": 'Bearer error="invalid_token"'},
        ) from error
    return Asker(desk, principal)


SignedIn = Annotated[Asker, Depends(signed_in)]
AtDesk = Annotated[Desk, Depends(desk_of)]
