"""How fast state grows is said of a trend, not of its breathing; and where each alert's runbook is."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from services.detector.core.growth import Growth

ROOT = Path(__file__).parents[3]


def test_nothing_is_said_of_too_little() -> None:
    growth = Growth()
    assert growth.per_hour is None
    for second in range(0, 300, 15):
        growth.add(second, second)
    assert growth.per_hour is None


def test_a_steady_growth_is_its_slope() -> None:
    growth = Growth()
    for second in range(0, 600, 15):
        growth.add(second, 1_000 + 2 * second)
    assert growth.per_hour == pytest.approx(7_200)


def test_a_state_that_breathes_does_not_grow() -> None:
    growth = Growth()
    for second in range(0, 7_200, 15):
        growth.add(second, 1_000_000 + second % 300 * 1_000)
    assert growth.per_hour is not None
    assert abs(growth.per_hour) < 0.03 * 1_000_000


def test_only_the_last_hour_counts() -> None:
    growth = Growth()
    for second in range(0, 3_600, 15):
        growth.add(second, second * 100)
    for second in range(3_600, 7_300, 15):
        growth.add(second, 360_000)
    assert growth.per_hour == pytest.approx(0, abs=1)
    assert len(growth.samples) <= 241


def test_every_alert_leads_to_a_page_of_the_runbooks() -> None:
    pages = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", page.lower()).replace(" ", "-") for page in pages}
    alerts = [
        rule
        for file in (ROOT / "k8s" / "alerts").glob("*.yaml")
        for group in YAML(typ="safe").load(file).get("spec", {}).get("groups", ())
        for rule in group["rules"]
    ]
    assert alerts
    for alert in alerts:
        assert alert["annotations"]["runbook_url"].partition("#")[2] in anchors, alert["alert"]
