"""The running gateway keeps to its own OpenAPI document, whatever it is asked. (Bounded: a few requests each.)"""

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.gateway.api import create_app
from tests.mesh import Mesh

PEOPLE = ("lena", "stew", "operator")
LEFT_OUT = r"^/v1/(token|stream/\{channel\}|catalog/apply|retention/run)$"
"""Sign-in is limited by design, a stream does not end, and the last two would change what other tests stand on."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias("application/x-ndjson", "text/plain")
schemathesis.serializer.alias(
    ["application/vnd.apache.avro", "application/protobuf"], "application/octet-stream"
)
SCHEMA = schemathesis.openapi.from_dict(create_app().openapi()).exclude(path_regex=LEFT_OUT)


def test_the_document_that_is_served_is_the_one_that_is_tested(mesh: Mesh) -> None:
    served = httpx.get(f"{mesh.stack.gateway}/openapi.json", trust_env=False).json()
    assert served == create_app().openapi()


@pytest.fixture(scope="module")
def session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
def test_no_request_is_answered_by_a_fault_or_against_the_document(
    case: schemathesis.Case, mesh: Mesh, session: requests.Session
) -> None:
    for name in PEOPLE:
        case.call_and_validate(
            base_url=mesh.stack.gateway, headers={"Authorization": mesh.as_(name).headers["Authorization"]},
            session=session, checks=CHECKS, timeout=30,
        )  # fmt: skip
