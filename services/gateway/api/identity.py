"""Tokens at the edge: the key of the own issuer, or the published keys of another one."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
from joserfc.jwk import ECKey, KeySet

from services.gateway.core.access import Principal
from services.gateway.core.tokens import BadCredential, issue, verify

_REFRESH = timedelta(minutes=10)
_REFRESH_AT_MOST_EVERY = timedelta(seconds=30)


class Identity:
    """Issues tokens with the own key (unless the issuer is another), and verifies them."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        leeway: timedelta,
        key: ECKey | None,
        client: httpx.AsyncClient,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self.issuer, self.audience, self.leeway = issuer, audience, leeway
        self.key = key
        """None: `issuer` is an external OIDC issuer."""
        self._client, self._now, self._new_id = client, now, new_id
        self._keys = KeySet([key]) if key else None
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()

    def issue(self, principal: Principal) -> str:
        """A token of the own issuer."""
        if self.key is None:
            raise RuntimeError("tokens come from the external issuer")
        return issue(
            self.key,
            principal,
            issuer=self.issuer,
            audience=self.audience,
            now=self._now(),
            token_id=self._new_id(),
        )

    def public_keys(self) -> dict[str, list[dict[str, str]]]:
        """The JWKS of the own issuer; empty if the issuer is another."""
        if self.key is None:
            return {"keys": []}
        return {"keys": [{name: str(value) for name, value in self.key.as_dict(private=False).items()}]}

    async def principal(self, token: str) -> Principal:
        """Who the token speaks for; raises BadCredential."""
        try:
            return self._verify(token, await self._known(_REFRESH))
        except BadCredential:
            if self.key is not None:
                raise
            # The issuer may have turned its keys over since we read them.
            return self._verify(token, await self._known(_REFRESH_AT_MOST_EVERY))

    def _verify(self, token: str, keys: KeySet) -> Principal:
        return verify(
            token, keys, issuer=self.issuer, audience=self.audience, now=self._now(), leeway=self.leeway
        )

    async def _known(self, older_than: timedelta) -> KeySet:
        if self.key is not None and self._keys is not None:
            return self._keys
        async with self._reading:
            now = self._now()
            if self._keys is None or self._read_at is None or now - self._read_at > older_than:
                self._keys = await self._read()
                self._read_at = now
            return self._keys

    async def _read(self) -> KeySet:
        try:
            configuration = await self._client.get(
                f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            )
            configuration.raise_for_status()
            keys = await self._client.get(configuration.json()["jwks_uri"])
            keys.raise_for_status()
            return KeySet.import_key_set(keys.json())
        except (httpx.HTTPError, json.JSONDecodeError, KeyError, ValueError) as error:
            if self._keys is not None:
                return self._keys
            raise BadCredential(f"the issuer's keys cannot be read: {error}") from error
