"""How a source is pulled is judged at plan time, at its line."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from libs.cli.main import app

CATALOG = Path(__file__).parents[3] / "catalog"


def planned(tmp_path: Path, pull: str) -> tuple[int, str]:
    """Exit code and findings of a workspace whose source weather (19 lines) is pulled like this."""
    folder = Path(shutil.copytree(CATALOG, tmp_path / "catalog"))
    file = folder / "sources/weather.yaml"
    file.write_text(f"{file.read_text().rstrip()}\npull:\n{pull}")
    result = CliRunner().invoke(app, ["plan", str(folder), "--offline"])
    return result.exit_code, result.stderr


BY_RECORD = "  url: http://x\n  cursor_parameter: a\n  cursor_of: record\n"


@pytest.mark.parametrize(
    ("pull", "said"),
    [
        ("  kind: smoke\n", "weather.yaml:20: pull: Input tag 'smoke' found using 'kind' does not match"),
        ("  every: 5s\n", "weather.yaml:20: pull.http.url: Field required"),
        ("  url: http://x\n  evry: 5s\n", "weather.yaml:22: pull.http.evry: Extra inputs are not permitted"),
        ("  url: http://x\n  cursor_field: a\n", "weather.yaml:20: pull.http: cursor_parameter and cursor_field go"),
        (BY_RECORD + "  cursor_field: temp\n  overlap: {cap: 5}\n", "weather.yaml:24: temp is double: a cursor with"),
        (BY_RECORD + "  cursor_field: tmp\n  overlap: {cap: 5}\n", "weather.yaml:24: there is no field tmp; did you"),
        (BY_RECORD + "  cursor_field: event_time\n  overlap: {cap: 5}\n", "weather.yaml:25: the cursor is a time: give"),
        ("  kind: sql\n  address: a\n  cursor: c\n  tie_breaker: d\n  overlap: {cap: 5}\n",
         "weather.yaml:20: pull.sql: give exactly one of table and query"),
        ("  kind: outbox\n  address: a\n  table: 'x; drop'\n", "weather.yaml:23: pull.outbox.table: String should match"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_line(tmp_path: Path, pull: str, said: str) -> None:
    code, findings = planned(tmp_path, pull)
    assert code == 1
    assert said in findings


@pytest.mark.parametrize(
    "pull",
    [
        "  url: http://x\n  cursor_parameter: after\n  cursor_field: next\n",
        BY_RECORD + "  cursor_field: event_time\n  overlap: {cap: 1h, floor: 1m}\n",
        "  kind: files\n  place: s3://weather/in/\n  pattern: '*.csv.gz'\n",
        "  kind: kafka\n  servers: other:9092\n  topic: weather\n  user: u\n  password: OTHER_CLUSTER\n",
        "  kind: sse\n  url: http://x\n  auth: {kind: bearer, secret: FEED}\n",
    ],
)
def test_what_is_right_is_accepted(tmp_path: Path, pull: str) -> None:
    assert planned(tmp_path, pull) == (0, "")
