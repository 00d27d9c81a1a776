"""The cases of the Autobahn test suite, which `kosoku` runs as a client of our WebSocket class."""

from kosoku import run_fuzzingclient

from tests.echo_server import Echo, open_echo_server

BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*"]
"""The server refuses binary messages."""
COMPRESSION = ["12.*", "13.*"]
"""The server never accepts an extension."""
CASE_COUNT = 266
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""RFC 6455 leaves open what happens in these cases."""


async def test_the_server_passes_all_cases_in_strict_mode() -> None:
    # Some cases send messages of many megabytes.
    async with open_echo_server(lambda: Echo(0)) as server:
        address = server.url.replace("http", "ws") + "/socket"
        # Raises an AssertionError with the failed cases.
        results = await run_fuzzingclient(address, exclude_cases=BINARY + COMPRESSION, concurrency=4)
    assert len(results) == CASE_COUNT
    verdicts = {result.case_id: (result.behavior.value, result.behavior_close.value) for result in results}
    not_ok = {case: verdict for case, verdict in verdicts.items() if verdict != ("OK", "OK")}
    assert not_ok == dict.fromkeys(INFORMATIONAL, ("INFORMATIONAL", "INFORMATIONAL"))
