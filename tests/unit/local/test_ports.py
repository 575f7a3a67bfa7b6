"""Which ports a stack gets."""

import pytest

from local import ports


def test_the_usual_ports_are_all_different() -> None:
    assert len(set(ports.DEFAULTS.values())) == len(ports.DEFAULTS)


def test_the_environment_names_other_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PORT", "19092")
    assert ports.from_environment() == {**ports.DEFAULTS, "kafka": 19092}


def test_free_ports_are_all_different() -> None:
    chosen = ports.free()
    assert chosen.keys() == ports.DEFAULTS.keys()
    assert len(set(chosen.values())) == len(chosen)
