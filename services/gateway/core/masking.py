"""Masking: one function, `conceal`, and the shapes that it is applied to.

Three transforms. *clear* shows the value. *pseudonym* shows `~` and a keyed hash: the same value of a field of
the same name has the same pseudonym everywhere, so that people may join and count without knowing. *redact*
shows nothing of an event's field (null). A redacted dimension must keep distinct series apart, or a chart
would draw several as one: it is shown as `•` and a keyed hash that holds within one KPI only, so that it
names the series in filters and in `explain` but cannot be joined with anything else.

A masked form is the only name of a value for those who may not see it: filters compare masked forms, so a
filter on a guessed clear value finds nothing, as a filter on nonsense does.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from libs.common.catalog import Source
from libs.common.catalog.models import Transform
from libs.common.events import Series, parse_series_key, series_key
from services.gateway.core.access import CLASSIFIED, OPENNESS, FieldClasses, Rights

HIDDEN = "•"
_DIGITS = 12


def conceal(transform: Transform, secret: bytes, name: str, value: Any, *, within: str | None = None) -> Any:
    """`value` of field `name` as `transform` shows it.

    `within` names the KPI whose dimension this is: its redacted values stay apart from each other.
    """
    if transform == "clear":
        return value
    if transform == "pseudonym":
        return None if value is None else f"~{_keyed(secret, 'pseudonym', name, value)}"
    return None if within is None else f"{HIDDEN}{_keyed(secret, f'redact {within}', name, value)}"


def _keyed(secret: bytes, domain: str, name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    kind = "s" if isinstance(value, str) else "j"
    message = "\0".join((domain, name, kind, text)).encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:_DIGITS]


@dataclass
class Veil:
    """The masks of one asker over one answer. Remembers what it let through in clear, and what it did not."""

    rights: Rights
    classes: FieldClasses
    secret: bytes
    shown: set[str] = field(default_factory=set)
    """Classes, confidential and above, that were shown in clear."""
    masked: set[str] = field(default_factory=set)
    """Names of fields and dimensions that were masked."""
    _words: dict[str, str] = field(default_factory=dict)
    """Clear dimension values of this answer → their masked forms, to be found again in prose."""

    def _apply(self, classification: str, name: str, value: Any, within: str | None = None) -> Any:
        transform = self.rights.transform(classification)
        if transform == "clear":
            if classification in CLASSIFIED:
                self.shown.add(classification)
            return value
        self.masked.add(name)
        shown = conceal(transform, self.secret, name, value, within=within)
        if value is not None and str(value) != "":
            self._words[str(value)] = HIDDEN if shown is None else str(shown)
        return shown

    # --- series ---------------------------------------------------------------------------------------

    def series(self, kpi: str, series: Mapping[str, str | None]) -> Series:
        """The dimension values of a KPI's series."""
        return {
            name: self._apply(self.classes.of_kpi(kpi, name), name, value, within=kpi)
            for name, value in series.items()
        }

    def series_key(self, kpi: str, key: str) -> str:
        """The canonical name of the masked series."""
        return series_key(self.series(kpi, parse_series_key(key)))

    def masks_series(self, kpi: str, dimensions: tuple[str, ...]) -> bool:
        """Whether any dimension is masked for the asker."""
        return any(self.rights.transform(self.classes.of_kpi(kpi, name)) != "clear" for name in dimensions)

    def selects(self, kpi: str, series: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> bool:
        """Whether a series has the wanted dimension values, compared as the asker sees them."""
        shown = self.series(kpi, series)
        return all(name in shown and shown[name] == value for name, value in wanted.items())

    # --- events ---------------------------------------------------------------------------------------

    def value(self, source: str, name: str, value: Any) -> Any:
        """One field of an event of `source`."""
        return self._apply(self.classes.of(source, name), name, value)

    def event(self, source: str, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """An event's data, field by field, and the fields that were masked."""
        shown = {name: self.value(source, name, value) for name, value in data.items()}
        return shown, self.hidden_fields(source, data)

    def hidden_fields(self, source: str, names: Mapping[str, Any]) -> list[str]:
        """Those of `names` that the asker does not see in clear."""
        return sorted(
            name for name in names if self.rights.transform(self.classes.of(source, name)) != "clear"
        )

    def key(self, source: Source, key: str) -> str | None:
        """A key of the source's topic: that of one field of text as the field is shown, any other as a whole, as the
        strictest of the fields that it is made of. The empty key says nothing."""
        if key == "":
            return key
        names = source.key_reads
        transforms: list[Transform] = [
            self.rights.transform(self.classes.of(source.id, name)) for name in names
        ]
        only = source.field(names[0]) if source.key_fields and len(names) == 1 else None
        if only is not None and only.type == "string":
            return self.value(source.id, only.name, key)
        if all(transform == "clear" for transform in transforms):
            for name in names:
                self.value(source.id, name, None)
            return key
        strictest = min(transforms, key=lambda each: OPENNESS[each])
        self.masked.update(self.hidden_fields(source.id, dict.fromkeys(names)))
        return conceal(strictest, self.secret, f"key of {source.id}", key)

    # --- prose and documents ---------------------------------------------------------------------------

    def prose(self, text: str) -> str:
        """Free text in which values that this answer masks elsewhere may stand: they are replaced."""
        for clear, shown in sorted(self._words.items(), key=lambda item: -len(item[0])):
            for form in {clear, quote(clear, safe=" ")}:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", lambda _, put=shown: put, text)
        return text

    def everywhere(self, value: Any) -> Any:
        """Any JSON, with `prose` done to every text in it, names of members included."""
        if isinstance(value, str):
            return self.prose(value)
        if isinstance(value, Mapping):
            return {self.prose(str(name)): self.everywhere(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.everywhere(item) for item in value]
        return value

    def document(self, value: Any, kpi: str | None = None) -> Any:
        """Any JSON: keys named like a field are masked by its strictest class, series by their KPI's."""
        if isinstance(value, Mapping):
            about = value.get("kpi") if isinstance(value.get("kpi"), str) else kpi
            fields = {name: self._member(name, item, about) for name, item in value.items()}
            return {
                name: self.prose(item) if isinstance(item, str) and name not in _NAMES else item
                for name, item in fields.items()
            }
        if isinstance(value, list):
            return [self.document(item, kpi) for item in value]
        return value

    def _member(self, name: str, item: Any, kpi: str | None) -> Any:
        if name == "series" and isinstance(item, Mapping):
            return self.series(kpi or "", item)
        if name == "series_key" and isinstance(item, str):
            return self.series_key(kpi or "", item)
        if name not in _NAMES and (classification := self.classes.anywhere(name)) is not None:
            return self._apply(classification, name, item)
        return self.document(item, kpi)

    def definition(self, kind: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """A definition of the catalog: expressions with literals on masked fields are hidden."""
        shown = dict(definition)
        source = str(shown.get("source", ""))
        for name in ("where", "value"):
            text = shown.get(name)
            if kind in ("kpi", "rule") and isinstance(text, str) and self._tells(source, text):
                shown[name] = HIDDEN
        if kind == "objective":
            shown["key_results"] = [
                {**result, "series": self.series(str(result.get("kpi")), result.get("series") or {})}
                for result in shown.get("key_results", ())
            ]
        return shown

    def _tells(self, source: str, expression: str) -> bool:
        fields = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", expression)) & set(
            self.classes.by_source.get(source, {})
        )
        hidden = self.hidden_fields(source, dict.fromkeys(fields))
        if hidden and re.search(r"'|\d", expression):
            self.masked.update(hidden)
            return True
        return False


_NAMES = frozenset(
    {"id", "kpi", "source", "rule", "signal", "kind", "policy", "team", "hash", "evidence_hash"}
)
"""Keys that name things of the catalog and never a value of the data."""
