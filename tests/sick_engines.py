"""Docker Engines that answer probes and swallow everything else, on loopback, in one thread.

Once they are healed they answer what they hold, and make containers that do nothing.
"""

import asyncio
import json
import threading

ANSWERS = {
    "/version": {"ApiVersion": "1.41"},
    "/info": {"ServerVersion": "24.0.0", "MemTotal": 8 * 2**30, "NCPU": 4},
    "/containers/json": [],
}

STOPPED = {
    "Running": False,
    "Restarting": False,
    "StartedAt": "0001-01-01T00:00:00Z",
    "ExitCode": 0,
    "Error": "",
    "OOMKilled": False,
}


class SickEngines:
    """Some engines. `ports` has where they listen, `holding` the ports with a call that hangs."""

    def __init__(self, count):
        self.ports = []
        self.holding = set()
        self._count = count
        self._writers = set()
        self.containers = {}
        self._there = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._there.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._well = asyncio.Event()
        servers = [
            await asyncio.start_server(self._answer, "127.0.0.1", 0) for _ in range(self._count)
        ]
        self.ports = [server.sockets[0].getsockname()[1] for server in servers]
        self._there.set()
        await self._over.wait()
        for server in servers:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        # Each handler reads the end of its connection, and closes it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def heal(self):
        """Answer everything from now on, what is held first."""
        self._loop.call_soon_threadsafe(self._well.set)

    async def _answer(self, reader, writer):
        self._writers.add(writer)
        while line := await reader.readline():
            size = 0
            while header := (await reader.readline()).strip().lower():
                if header.startswith(b"content-length:"):
                    size = int(header.partition(b":")[2])
            body = json.loads(await reader.readexactly(size)) if size else {}
            method, target, _ = line.decode().split()
            path, _, query = target.partition("?")
            status, answer = (
                200,
                next((ANSWERS[end] for end in ANSWERS if path.endswith(end)), None),
            )
            if answer is None or method != "GET":
                if not await self._hold(reader, writer):
                    break
                status, answer = self._act(method, path.split("/")[2:], query, body)
            text = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(text)}\r\n\r\n"
            writer.write(head.encode() + text)
        self._writers.discard(writer)
        writer.close()

    async def _hold(self, reader, writer):
        """Hold a call until we are healed; return whether its client is still there."""
        port = writer.get_extra_info("sockname")[1]
        self.holding.add(port)
        well = asyncio.ensure_future(self._well.wait())
        left = asyncio.ensure_future(reader.read(1))  # nothing comes until the client hangs up
        await asyncio.wait({well, left}, return_when=asyncio.FIRST_COMPLETED)
        self.holding.discard(port)
        is_there = not left.done()
        for waiting in (well, left):
            waiting.cancel()
        await asyncio.gather(well, left, return_exceptions=True)
        return is_there

    def _act(self, method, words, query, body):
        match method, *words:
            case "GET", "images", *_:
                return 200, {}
            case "POST", "volumes", "create":
                return 201, {"Labels": body["Labels"]}
            case "POST", "containers", "create":
                self.containers[query.partition("name=")[2]] = {
                    "Id": "c",
                    "State": dict(STOPPED),
                    "Config": {"Labels": body["Labels"]},
                    "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}},
                }
                return 201, {"Id": "c"}
            case "GET", "containers", name, "json" if name in self.containers:
                return 200, self.containers[name]
            case "POST", "containers", name, "start" if name in self.containers:
                self.containers[name]["State"]["Running"] = True
                return 200, {}
            case _:
                return 404, {"message": "no such thing"}
