"""Starts everything on a developer's machine, keeps it running, and ends all of it.

    python -m dev.up [--procfile PROCFILE]

The order: what must be ours is claimed (ports, data folder), Redis and the model start, the database is migrated, and then come the
processes of the Procfile. Its line `release` is the migration.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dev import account, procfile, screen
from dev.child import Program, describe, shell
from dev.claims import check_ports, hold_folder
from dev.console import Console
from dev.environment import Environment, prepare
from dev.paths import ROOT
from dev.servers import redis_server
from dev.supervisor import Supervisor
from shared.errors import ChatrelayError

RELEASE = "release"
REDIS_SECONDS = 20.0
REDIS_POLL_SECONDS = 0.05
MIGRATION_SECONDS = 600.0
READY_SECONDS = 60.0
GRACE_MARGIN_SECONDS = 3.0
"""A process may take this much longer than its jobs' DRAIN_SECONDS before it is killed."""


class NotUp(ChatrelayError):
    """A part of the stack did not start."""


class Stack:
    """The programs of one run, in the order in which they need each other."""

    def __init__(self, environment: Environment, lines: dict[str, str]) -> None:
        self.environment = environment
        self._release = lines.get(RELEASE)
        self._programs = [shell(name, line) for name, line in lines.items() if name != RELEASE]
        self._foundations = self._find_foundations()
        self.console = Console(sys.stdout, [*(program.name for program in self._foundations), *lines])
        grace_seconds = environment.settings.drain_seconds + GRACE_MARGIN_SECONDS
        self.supervisor = Supervisor(self.console.say, environment.variables, ROOT, grace_seconds)

    def _find_foundations(self) -> list[Program]:
        """What the Procfile's processes take for granted, and we have to bring."""
        settings = self.environment.settings
        programs = []
        if self.environment.own_redis:
            folder = self.environment.data_dir / "redis"
            folder.mkdir(exist_ok=True)
            programs.append(Program("redis", tuple(redis_server.command(settings.redis_port, folder))))
        if self.environment.own_model:
            programs.append(Program("model", (sys.executable, "-m", "dev.model", "--port", str(settings.model_port))))
        return programs

    async def up(self) -> None:
        """Start everything and show the screen."""
        if self._foundations:
            self.supervisor.start(*self._foundations)
        await self._until_redis_answers()
        await self._migrate()
        self.supervisor.start(*self._programs)
        await self._show_screen()

    async def _until_redis_answers(self) -> None:
        deadline = time.monotonic() + REDIS_SECONDS
        while reason := await asyncio.to_thread(redis_server.complaint, self.environment.settings.redis_url):
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
            raise NotUp(f"the migration failed ({describe(code)}); its own words are above")

    async def _show_screen(self) -> None:
        port = self.environment.settings.port
        while missing := await account.until_ready(port, READY_SECONDS):
            self.console.show(f"chatrelay: the API is not ready after {READY_SECONDS:g} s: {missing}; still waiting")
        try:
            token = await asyncio.to_thread(account.token, port, self.environment.data_dir)
        except account.NoToken as error:
            self.console.show(f"chatrelay: the API is up on port {port}, but there is no token: {error}")
            return
        self.console.show(screen.render(self.environment, token))


async def run(stack: Stack) -> None:
    """Bring the stack up and keep it up until a signal, or an error that no restart mends. Afterwards nothing of it is left."""
    loop, body, supervisor = asyncio.get_running_loop(), asyncio.current_task(), stack.supervisor
    assert body is not None

    def stop() -> None:
        # The first signal ends the body below; another one, while that is under way, ends the patience.
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
        stack.console.show("chatrelay: stopping; once more Ctrl-C kills")
    finally:
        await supervisor.stop()


def _claim(environment: Environment) -> None:
    """Make sure, before anything starts, that nothing is in the way."""
    check_ports(environment.ports)
    hold_folder(environment.data_dir)
    if not environment.own_redis:
        redis_server.check(environment.settings.redis_url)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack; 0 when it ended because it was told to."""
    parser = argparse.ArgumentParser(prog="bin/dev", description="Starts everything on this machine.")
    parser.add_argument("--procfile", type=Path, default=ROOT / "Procfile", help="the processes to run")
    options = parser.parse_args(arguments)
    try:
        environment = prepare()
        _claim(environment)
        asyncio.run(run(Stack(environment, procfile.read(options.procfile))))
    except ChatrelayError as error:
        sys.stderr.write(f"chatrelay: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
