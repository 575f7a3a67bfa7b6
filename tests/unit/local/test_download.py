"""Nothing fetched is used unless it is exactly what was pinned."""

from pathlib import Path

import pytest

from local import download
from local.progress import Failed


def test_a_file_that_differs_from_its_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "apicurio-registry-app-3.3.3-all.tar.gz").write_bytes(b"something else")
    with pytest.raises(Failed, match="apicurio-registry-app"):
        download.check_digests(tmp_path, "registry")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not as pinned"):
        download.check_digests(tmp_path, "kafka")


def test_the_pinned_versions_are_those_that_maven_is_asked_for() -> None:
    pom = (download.HERE / "pom.xml").read_text()
    for name in (download.KAFKA, download.REGISTRY):
        server, _, version = name.rpartition("-")
        assert f"<{server}.version>{version}<" in pom
        assert version in (download.HERE / "digests.txt").read_text()


def test_a_failing_command_says_what_mends_it() -> None:
    with pytest.raises(Failed, match="no-such-command is missing: install it"):
        download.run(["no-such-command"], "install it")
