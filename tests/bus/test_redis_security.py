"""The instructions in docs/deployment.md for securing Redis: the ACL, the password, TLS."""

import datetime
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis
from redis.exceptions import RedisError

from educa_chat.bus import open_bus
from tests.bus.waiting import beating, carries, received
from tests.ports import free_port
from tests.redis_server import RedisCluster, RedisServer

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
PREFIX = "educa-chat:"
HARMLESS = {"client|setinfo"}
"""With this command, the client library sends its name. Redis 7.0 doesn't know it, and refuses an ACL that contains it.
"""


def acl(command: str) -> list[str]:
    """Return the ACL rules of the guide's user, plus the permission for `command`."""
    (line,) = [line for line in re.findall(r"^    user educa_chat (.*)$", GUIDE, re.MULTILINE) if command in line]
    rules: list[str] = line.replace(">PASSWORD", ">secret").split()
    return rules


def denied(server: RedisServer) -> set[str]:
    """Return the commands that Redis has denied."""
    return {entry[b"object"].decode() for entry in server.ask("ACL", "LOG")}


def refused(server: RedisServer, *command: object) -> bool:
    """Return whether Redis refuses this to the guide's user."""
    with Redis(port=server.port, username="educa_chat", password="secret") as client:
        try:
            client.execute_command(*command)
        except RedisError as error:
            return "permission" in str(error)
    return False


async def test_the_documented_acl_allows_exactly_what_a_node_needs() -> None:
    server = RedisServer()
    server.start()
    try:
        server.ask("ACL", "SETUSER", "educa_chat", *acl("+publish"))
        url = f"redis://educa_chat:secret@127.0.0.1:{server.port}"
        async with open_bus(url, PREFIX) as bus:
            for _ in range(2):  # With an UNSUBSCRIBE in between.
                await carries(bus, "room")
            await beating(bus)
        assert denied(server) <= HARMLESS
        for command in (
            ("GET", "x"),
            ("SET", "educa-chat:x", 1),
            ("PUBLISH", "another:room", "x"),
            ("SUBSCRIBE", "another:room"),
            ("PSUBSCRIBE", "*"),
            ("PUBSUB", "CHANNELS"),
            ("CONFIG", "GET", "*"),
            ("CLIENT", "LIST"),
            ("MONITOR",),
            ("FLUSHALL",),
            ("EVAL", "return 1", 0),
            ("ACL", "LIST"),
        ):
            assert refused(server, *command), command
        assert not refused(server, "PING")
    finally:
        server.stop()


async def test_the_documented_cluster_acl_allows_what_a_node_needs(sharded_pubsub: None) -> None:
    with RedisCluster() as cluster:
        for master in cluster.masters:
            master.ask("ACL", "SETUSER", "educa_chat", *acl("+spublish"))
        async with open_bus(cluster.url.replace("://", "://educa_chat:secret@"), PREFIX) as bus:
            # These are spread over the three masters.
            for number in range(12):
                await carries(bus, f"room:{number}")
            await beating(bus)
        for master in cluster.masters:
            assert denied(master) <= HARMLESS
            assert refused(master, "SPUBLISH", "another", "x")
            assert refused(master, "CLUSTER", "NODES")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "redis.pem", tmp_path / "redis.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture
def tls_port(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[int]:
    """The port of a Redis with the configuration from the guide."""
    lines = re.findall(r"^    (tls-.*)$", GUIDE, re.MULTILINE)
    assert len(lines) == 4
    port = free_port()
    text = "\n".join(lines)
    for guide, here in (
        ("tls-port 6379", f"tls-port {port}"),
        ("/etc/redis/tls/redis.pem", str(certificate[0])),
        ("/etc/redis/tls/redis.key", str(certificate[1])),
    ):
        assert guide in text
        text = text.replace(guide, here)
    (tmp_path / "redis.conf").write_text(text + "\n")
    server = RedisServer([str(tmp_path / "redis.conf")])
    try:
        server.start()
    except TimeoutError as error:
        if "tls-" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise
    yield port
    server.stop()


async def test_a_bus_over_tls_works_only_with_a_trusted_certificate(
    tls_port: int, patient_redis: None, certificate: tuple[Path, Path]
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}"
    async with open_bus(f"{url}?ssl_ca_certs={certificate[0]}", PREFIX) as bus, bus.subscribe("room") as payloads:
        await bus.publish("room", b"sealed")
        assert await received(payloads) == b"sealed"
    async with open_bus(url, PREFIX) as bus:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            await bus.publish("room", b"sealed")
