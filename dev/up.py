"""Starts everything on a developer's machine, keeps it running, and ends all of it.

    python -m dev.up [--procfile PROCFILE]

The order: the ports and the data folder are checked and locked, Redis and the model start, the database is migrated, and then the
processes of the Procfile start. Its line `release` is the migration.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dev import account, screen
from dev.environment import Environment, prepare
from dev.exclusive import check_ports, lock_folder
from dev.paths import ROOT
from dev.processes import procfile
from dev.processes.child import Program, describe, shell
from dev.processes.console import Console
from dev.processes.supervisor import Supervisor
from dev.servers import redis_server
from shared.errors import ChatrelayError

RELEASE = "release"
REDIS_SECONDS = 20.0
REDIS_POLL_SECONDS = 0.05
MIGRATION_SECONDS = 600.0
READY_SECONDS = 60.0
GRACE_MARGIN_SECONDS = 3.0
"""How much longer than DRAIN_SECONDS a process may take to stop before it is killed."""


class NotUp(ChatrelayError):
    """A part of the stack did not start."""


class Stack:
    """The programs of one run, in the order in which they need one another."""

    def __init__(self, environment: Environment, lines: dict[str, str]) -> None:
        self.environment = environment
        self._release = lines.get(RELEASE)
        self._programs = [shell(name, line) for name, line in lines.items() if name != RELEASE]
        self._servers = self._find_servers()
        self.console = Console(sys.stdout, [*(program.name for program in self._servers), *lines])
        grace_seconds = environment.settings.drain_seconds + GRACE_MARGIN_SECONDS
        self.supervisor = Supervisor(self.console.write_line, environment.variables, ROOT, grace_seconds)

    def _find_servers(self) -> list[Program]:
        """Return the servers that the Procfile's processes need and that are ours to start."""
        variables = self.environment.variables
        programs = []
        if self.environment.own_redis:
            folder = self.environment.data_dir / "redis"
            folder.mkdir(exist_ok=True)
            programs.append(Program("redis", tuple(redis_server.command(int(variables["REDIS_PORT"]), folder))))
        if self.environment.own_model:
            programs.append(Program("model", (sys.executable, "-m", "dev.model", "--port", variables["MODEL_PORT"])))
        return programs

    async def up(self) -> None:
        """Start everything, then print the screen."""
        if self._servers:
            self.supervisor.start(*self._servers)
        await self._until_redis_answers()
        await self._migrate()
        self.supervisor.start(*self._programs)
        await self._show_screen()

    async def _until_redis_answers(self) -> None:
        deadline = time.monotonic() + REDIS_SECONDS
        while reason := await asyncio.to_thread(redis_server.failure, self.environment.settings.redis_url):
            if time.monotonic() > deadline:
                raise NotUp(f"the embedded Redis does not answer: {reason}")
            await asyncio.sleep(REDIS_POLL_SECONDS)

    async def _migrate(self) -> None:
        if self._release is None:
            return
        try:
            code = await self.supervisor.run(shell(RELEASE, self._release), MIGRATION_SECONDS)
        except TimeoutError:
            raise NotUp(f"the migration is not over after {MIGRATION_SECONDS:g} s") from None
        if code != 0:
            raise NotUp(f"the migration failed ({describe(code)}); see its output above")

    async def _show_screen(self) -> None:
        port = self.environment.settings.port
        while missing := await account.wait_until_ready(port, READY_SECONDS):
            self.console.show(f"chatrelay: the API is not ready after {READY_SECONDS:g} s: {missing}; still waiting")
        try:
            token = await asyncio.to_thread(account.token, port, self.environment.data_dir)
        except account.NoToken as error:
            self.console.show(f"chatrelay: the API is up on port {port}, but there is no token: {error}")
            return
        self.console.show(screen.render(self.environment, token))


async def run(stack: Stack) -> None:
    """Start the stack and keep it running until a signal, or an error that no restart cures. Afterwards nothing of it is left."""
    loop, body, supervisor = asyncio.get_running_loop(), asyncio.current_task(), stack.supervisor
    assert body is not None

    def stop() -> None:
        # The first signal ends the body below; another one, while that is under way, kills.
        if supervisor.stopping:
            supervisor.hurry()
        else:
            supervisor.stopping = True
            body.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await stack.up()
        await supervisor.wait()
    except asyncio.CancelledError:
        stack.console.show("chatrelay: stopping; a second Ctrl-C kills")
    finally:
        await supervisor.stop()


def _check(environment: Environment) -> None:
    """Make sure, before anything starts, that ports, data folder and Redis can be used."""
    check_ports(environment.ports)
    lock_folder(environment.data_dir)
    if not environment.own_redis:
        redis_server.check(environment.settings.redis_url)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack; return 0 when a signal ended it, 1 when it could not run."""
    parser = argparse.ArgumentParser(prog="bin/dev", description="Starts everything on this machine.")
    parser.add_argument("--procfile", type=Path, default=ROOT / "Procfile", help="the processes to run")
    options = parser.parse_args(arguments)
    try:
        environment = prepare()
        _check(environment)
        asyncio.run(run(Stack(environment, procfile.read(options.procfile))))
    except ChatrelayError as error:
        sys.stderr.write(f"chatrelay: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
