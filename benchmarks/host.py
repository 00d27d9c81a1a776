"""Serve one version of the server, print its port and process ids as a line of JSON, and stop when the input ends.

`python -P host.py` with `PYTHONPATH` set to a checkout serves that checkout, whichever version this file is from.
"""

import asyncio
import json
import sys

from benchmarks import machine
from benchmarks.deployment import open_deployment, serve


async def main() -> None:
    machine.prepare()
    async with open_deployment() as deployment:
        postmaster = int((deployment.folder / "database" / "postmaster.pid").read_text().split()[0])
        with serve(deployment) as node:
            [process_id] = node.process_ids
            print(
                json.dumps(
                    {
                        "port": node.port,
                        "node": process_id,
                        "postmaster": postmaster,
                        "database_url": deployment.database.url,
                        "cookies": list(deployment.cookies),
                    }
                ),
                flush=True,
            )
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
