"""Apache Kafka: one node that is broker and controller."""

import asyncio
import base64
import logging
import uuid
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from . import download
from .java import java
from .places import ROOT
from .ports import Ports
from .process import Process
from .progress import step

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "message.max.bytes": 8 * 1024 * 1024,
    "replica.fetch.max.bytes": 8 * 1024 * 1024,
    # one node holds every copy
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 10,
    "offsets.retention.minutes": 30 * 24 * 60,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 10,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # a killed member is missed soon
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # compaction in small portions
    "log.segment.bytes": 64 * 1024 * 1024,
    "log.cleaner.threads": 1,
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
    "log.cleaner.backoff.ms": 5000,
}


def start(home: Path, ports: Ports) -> str:
    """Start it and return its address."""
    process = Process("kafka", home)
    address = f"127.0.0.1:{ports['kafka']}"
    jars = download.kafka()
    if process.pid is None:
        with step(f"Kafka answers on {address}"):
            properties = _configure(home / "kafka", ports)
            process.start(_jvm(jars, "-Xms256m", "kafka.Kafka", str(properties)))
            process.wait_until(lambda: answers(address))
    return address


def _jvm(jars: Path, *arguments: str) -> list[str]:
    logging_settings = ROOT / "local" / "log4j2.properties"
    return java(512, f"-Dlog4j2.configurationFile={logging_settings}", "-cp", f"{jars}/*", *arguments)


def _configure(folder: Path, ports: Ports) -> Path:
    """Write the settings, and format the data folder once."""
    folder.mkdir(parents=True, exist_ok=True)
    data, properties = folder / "data", folder / "server.properties"
    broker = f"PLAINTEXT://127.0.0.1:{ports['kafka']}"
    controller = f"127.0.0.1:{ports['kafka_controller']}"
    settings = {
        **SETTINGS,
        "listeners": f"{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"{broker},CONTROLLER://{controller}",
        "controller.quorum.bootstrap.servers": controller,
        "log.dirs": data,
    }
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    if not (data / "meta.properties").exists():
        jars = download.kafka()
        cluster = (
            base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).bytes).decode().rstrip("=")
        )
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted"]
        command = _jvm(
            jars, "-XX:TieredStopAtLevel=1", *tool, f"--cluster-id={cluster}", f"--config={properties}"
        )
        download.run(command, f"remove {folder} and start again")
    return properties


def answers(address: str) -> bool:
    """True when the broker names itself in the cluster's metadata."""
    return asyncio.run(_brokers(address)) > 0


async def _brokers(address: str) -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=2000)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    finally:
        await admin.close()
