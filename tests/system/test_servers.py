"""The real servers start from nothing and do what Sextant asks of them."""

import json
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from local import servers as local_servers


async def test_kafka_returns_what_was_committed_and_not_what_was_aborted(
    servers: dict[str, str], namespace: str
) -> None:
    topic, address = f"{namespace}events", servers["SEXTANT_KAFKA"]
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id=f"{namespace}writer") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=address, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        assert (await consumer.getone()).value == b"committed"


def test_a_fresh_database_has_timescaledb_and_makes_hypertables(database: str) -> None:
    with psycopg.connect(database) as connection:
        version = connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        ).fetchone()
        assert version is not None
        assert tuple(map(int, version[0].split(".")[:2])) >= (2, 19)
        connection.execute("CREATE TABLE reading (at timestamptz NOT NULL, value float8)")
        connection.execute("SELECT create_hypertable('reading', by_range('at'))")
        connection.execute("INSERT INTO reading VALUES ('2013-02-08', 1), ('2013-02-18', 2)")
        chunks = connection.execute("SELECT count(*) FROM show_chunks('reading')").fetchone()
        assert chunks == (2,)


def test_two_fresh_databases_exist_side_by_side(database: str, servers: dict[str, str]) -> None:
    with psycopg.connect(database) as one, psycopg.connect(servers["SEXTANT_DATABASE"]) as other:
        assert one.info.dbname != other.info.dbname


def test_redis_answers_and_keeps_what_it_is_told(servers: dict[str, str], namespace: str) -> None:
    with redis.Redis.from_url(servers["SEXTANT_REDIS"], decode_responses=True) as client:
        client.set(f"{namespace}key", "value", ex=60)
        assert client.get(f"{namespace}key") == "value"


def test_the_registry_refuses_a_schema_that_would_break_readers(
    servers: dict[str, str], namespace: str
) -> None:
    subject = f"{namespace}events.departures-value"

    def schema(*fields: dict[str, str]) -> dict[str, str]:
        record = {"type": "record", "name": "Departure", "fields": fields}
        return {"schemaType": "AVRO", "schema": json.dumps(record)}

    with httpx.Client(base_url=servers["SEXTANT_REGISTRY"], timeout=10, trust_env=False) as registry:
        carrier = {"name": "carrier", "type": "string"}
        first = registry.post(f"/subjects/{subject}/versions", json=schema(carrier))
        assert first.status_code == 200, first.text
        assert registry.put(f"/config/{subject}", json={"compatibility": "BACKWARD"}).status_code == 200
        required = {"name": "tail", "type": "string"}
        assert (
            registry.post(f"/subjects/{subject}/versions", json=schema(carrier, required)).status_code == 409
        )
        assert registry.get(f"/schemas/ids/{first.json()['id']}").status_code == 200


def test_starting_what_the_environment_gives_starts_nothing(
    servers: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, address in servers.items():
        monkeypatch.setenv(name, address)
    assert local_servers.up(tmp_path, {}) == servers
    assert not (tmp_path / "run").exists()
