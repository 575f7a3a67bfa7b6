"""What a changed source breaks, in words: by rule, by replay of what is real, and for whom."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def told(contract: Mapping[str, Any], replay: Mapping[str, Any] | None, why_not: str = "") -> str:
    """A few sentences; `why_not`: why there is no replay."""
    source, breaks = contract["source"], contract["breaks"]
    refused = [each for each in breaks if each["refused"]]
    known = {each["message"] for each in refused}
    let_in = [each for each in breaks if each["message"] not in known]
    rules = ", ".join(dict.fromkeys(each["rule"] for each in refused))
    by_rule = [
        _sentence(f"refused by {rules}", refused),
        _sentence(f"let in by compatibility {contract['compatibility']}", let_in),
    ]
    sentences = [each for each in by_rule if each] or ["breaks no rule"]
    if replay is None:
        sentences.append(f"not replayed: {why_not}")
        touched = dict.fromkeys(each["field"] for each in breaks)
    else:
        sentences += _replayed(source, replay)
        faults = (each["field"] for each in replay["faults"] if each["field"])
        touched = dict.fromkeys([*faults, *(each["field"] for each in breaks)])
    readers = _readers(contract["readers"], touched)
    return "; ".join([*sentences, *([f"read by {readers}"] if readers else [])])


def share(part: int, whole: int) -> str:
    """Percent with one decimal; what is not nothing is never called 0 and what is not all never 100."""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "less than 0.1 %"
    if 99.9 < percent < 100:
        return "more than 99.9 %"
    return f"{percent:.1f}".removesuffix(".0") + " %"


def _sentence(how: str, breaks: Sequence[Mapping[str, Any]]) -> str:
    if not breaks:
        return ""
    texts = dict.fromkeys(f"{each['message']} (version {each['version']})" for each in breaks)
    return f"{how}: {', '.join(texts)}"


def _replayed(source: str, replay: Mapping[str, Any]) -> list[str]:
    records, broken, letters = replay["records"], replay["broken"], replay["letters"]
    if not records:
        sentences = [f"{source} has no records yet"]
    elif not broken:
        sentences = [f"breaks none of the last {records:,} records of {source}"]
    else:
        why = ", ".join(
            f"field {each['field']}: {each['rule']}" if each["field"] else str(each["rule"])
            for each in replay["faults"]
        )
        sentences = [f"breaks {share(broken, records)} of the last {records:,} records of {source} ({why})"]
    if letters:
        sentences.append(f"{replay['mended'] or 'none'} of the last {letters:,} dead letters would pass")
    return sentences


def _readers(readers: Mapping[str, Sequence[Mapping[str, Any]]], fields: Iterable[str]) -> str:
    names = {"kpi": "KPI", "rule": "rule"}
    found = dict.fromkeys(
        f"{names[each['kind']]} {each['id']}" for field in fields for each in readers.get(field, ())
    )
    return ", ".join(found)
