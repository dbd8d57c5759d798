"""`banyan up | down | logs | doctor`: the local stack from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console

from banyan.commands.asking import confirm
from banyan.errors import BanyanError, StackError
from banyan.stack import boot, config, doctor_checks
from banyan.stack.home import Home, Running
from banyan.stack.supervisor import Supervisor

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_STOP_FIRST = "stop it first with `banyan down`"
_AGENTS = 3


def raise_on_signals() -> None:
    """SIGTERM and SIGHUP end us as Ctrl-C does, so that everything we started is stopped.

    SIGINT too: a shell without job control starts what it puts in the background (`&`) with SIGINT ignored.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def say_step(started: float) -> boot.Progress:
    def progress(step: str, detail: str) -> None:
        err.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  [bold]{step:<13}[/] {detail}")

    return progress


def say_addresses(running: Running) -> None:
    out.print(f"gateway  {running.gateway}   (clients talk to this)")
    out.print(f"console  {running.console}   (open it in a browser)")
    out.print("next     .venv/bin/banyan status · banyan advance pricing · banyan down")


def require_as_asked(
    running: Running, *, gateway_port: int | None, console_port: int | None, agents: int | None, workers: int | None
) -> None:
    """Raises: StackError when the stack that runs is another one than was asked for; None: any will do."""
    asked = {"gateway-port": gateway_port, "console-port": console_port, "agents": agents, "workers": workers}
    has = {
        "gateway-port": urlsplit(running.gateway).port,
        "console-port": urlsplit(running.console).port,
        "agents": running.agents,
        "workers": running.workers,
    }
    other = [f"--{name} {has[name]}, not {value}" for name, value in asked.items() if value not in (None, has[name])]
    if other:
        raise StackError(
            f"the running stack (pid {running.pid}) has {'; '.join(other)}: "
            "stop it with `banyan down`, then start it as you want it"
        )


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Return when the stack is ready; it goes on in the background.")
@click.option(
    "--gateway-port", type=click.IntRange(1, 65535), help="Port of the gateway [default: 8000, or a free one]."
)
@click.option(
    "--console-port", type=click.IntRange(1, 65535), help="Port of the console [default: 8001, or a free one]."
)
@click.option("--agents", type=click.IntRange(0, 50), help="Battery agents to run [default: 3].")
@click.option("--workers", type=click.IntRange(1, 16), help="Gateway workers [default: 1].")
@click.option("--steward/--no-steward", default=True, help="Whether failing gates take a step back by themselves.")
@click.option("--fresh", is_flag=True, help="Throw away the data of the last stack first.")
@click.option("--dry-run", is_flag=True, help="Say what would be started, and with which data; change nothing.")
def up(
    detach: bool,
    gateway_port: int | None,
    console_port: int | None,
    agents: int | None,
    workers: int | None,
    steward: bool,
    fresh: bool,
    dry_run: bool,
) -> None:
    """Start the local stack: everything in ./.banyan, on loopback. Ctrl-C stops all of it."""
    home = Home.default()
    if (running := home.running()) is not None and running.ready:
        if fresh:
            raise StackError(f"--fresh throws away data that the running stack (pid {running.pid}) uses: {_STOP_FIRST}")
        require_as_asked(running, gateway_port=gateway_port, console_port=console_port, agents=agents, workers=workers)
        out.print(f"a stack is running already (pid {running.pid})")
        say_addresses(running)
        return
    if home.is_locked():
        raise StackError(f"a stack is starting or stopping in {home.path}: try again in a moment")
    config.require_ports(gateway_port, console_port)
    if dry_run:
        ports = {"gateway_port": gateway_port, "console_port": console_port}
        settings = config.make(home, **ports, workers=workers or 1, fresh=fresh)
        _say_what_would_start(home, settings, fresh, _AGENTS if agents is None else agents)
        return
    if fresh:
        if (lost := home.kept()) is not None:
            err.print(f"throwing away {lost}", soft_wrap=True)
        home.purge()
    if home.demo_mark.exists():
        err.print("this goes on from the demonstration's data (see `banyan status`); `banyan up --fresh` starts over")
    if detach:
        say_addresses(_detached(home))
        return
    raise_on_signals()
    with home.lock():
        home.create()
        home.demo_mark.unlink(missing_ok=True)  # the data is the user's now: a demonstration must not throw it away
        settings = config.make(home, gateway_port=gateway_port, console_port=console_port, workers=workers or 1)
        settings.write()
        supervisor = Supervisor(home)
        boot.announce(settings, supervisor, ready=False)
        try:
            boot.boot(
                settings,
                supervisor,
                boot.Options(agents=_AGENTS if agents is None else agents, steward=steward),
                say_step(time.monotonic()),
            )
            supervisor.on_change = lambda: boot.announce(settings, supervisor, ready=True)
            supervisor.on_change()
            say_addresses(home.running() or _no_state())
            threading.Event().wait()
        except KeyboardInterrupt:
            err.print("stopping …")
        finally:
            supervisor.stop()
            home.state_file.unlink(missing_ok=True)


def _say_what_would_start(home: Home, settings: config.Config, fresh: bool, agents: int) -> None:
    """Raises: StackError for what would keep it from starting."""
    home.require_usable(purge=fresh)
    boot.require_room(home)
    kept = home.kept()
    if fresh and kept:
        out.print(f"would throw away {kept}", soft_wrap=True)
    out.print(
        f"would go on with {kept}" if kept and not fresh else f"would make a stack in {home.path}", soft_wrap=True
    )
    out.print(
        f"would listen at {settings['BANYAN_GATEWAY_URL']} (gateway) and {settings['BANYAN_CONSOLE_URL']} (console);"
        f" {agents} battery agents, gateway workers: {settings['GATEWAY_WORKERS']}",
        soft_wrap=True,
    )
    out.print("dry run: nothing was changed")


def _no_state() -> Running:
    raise StackError("the stack wrote no state file: see `banyan logs`")


def _detached(home: Home) -> Running:
    home.create()
    arguments = [a for a in sys.argv[1:] if a not in ("--detach", "-d", "--fresh")]
    with home.log("supervisor").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "banyan.cli", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    err.print(f"starting (log: {home.log('supervisor')}) …", soft_wrap=True)
    try:
        return boot.wait_until_ready(home, 300, lambda: child.poll() is None)
    except (KeyboardInterrupt, BanyanError):
        child.terminate()
        child.wait(60)
        raise


@click.command()
@click.option("--purge", is_flag=True, help="Remove ./.banyan with all its data too.")
@click.option("--yes", is_flag=True, help="Do not ask before data of `banyan up` is thrown away.")
@click.option("--dry-run", is_flag=True, help="Say what would be stopped and removed; change nothing.")
def down(purge: bool, yes: bool, dry_run: bool) -> None:
    """Stop the local stack, whoever started it."""
    home = Home.default()
    lost = home.kept() if purge else None
    if dry_run:
        out.print(f"would stop the stack (pid {_holder(home)})" if home.is_locked() else "no stack is running")
        if purge:
            out.print(f"would remove {lost}" if lost else f"nothing to remove in {home.path}", soft_wrap=True)
        return
    if lost is not None and not yes and not home.demo_mark.exists():
        confirm(f"throw away {lost}?")
    if home.is_locked():
        pid = _holder(home)
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while home.is_locked():
            if time.monotonic() > deadline:
                raise StackError(f"the stack (pid {pid}) did not stop within 60 s: see {home.logs}")
            time.sleep(0.1)
        out.print("stopped")
    else:
        out.print("no stack is running")
    if purge and home.path.exists():
        home.purge()
        out.print(f"removed {home.path}", soft_wrap=True)


def _holder(home: Home) -> int:
    if home.state_file.exists() and (running := home.running()) is not None:
        return running.pid
    raise StackError(f"a stack is starting or stopping in {home.path}: try again in a moment")


@click.command()
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "--lines",
    "--tail",
    "-n",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many lines of each.",
)
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Show the end of the logs: of all processes, or of NAME."""
    home = Home.default()
    known = {path.stem: path for path in sorted(home.logs.glob("*.log"))}
    if not known:
        raise StackError(f"no logs in {home.logs}: start a stack with `banyan up`")
    if name is not None and name not in known:
        raise StackError(f"no log named {name}; there are: {', '.join(known)}")
    chosen = {name: known[name]} if name else known
    width = max(map(len, chosen)) if name is None else 0
    offsets = {path: _show_from(path, 0, f"{label:<{width}} " * (not name), lines) for label, path in chosen.items()}
    while follow:
        time.sleep(0.3)
        for label, path in chosen.items():
            offsets[path] = _show_from(path, offsets[path], f"{label:<{width}} " * (not name))


def _show_from(path: Path, offset: int, prefix: str, last: int | None = None) -> int:
    """Print the whole lines after `offset`, or the `last` of them. Returns where the next one begins."""
    with path.open("rb") as handle:
        handle.seek(offset)
        text = handle.read()
    text = text[: text.rfind(b"\n") + 1]
    lines = text.decode(errors="replace").splitlines()
    for line in lines if last is None else lines[-last:]:
        click.echo(prefix + line)
    return offset + len(text)


@click.command()
def doctor() -> None:
    """Check this machine and the running stack; exit code 1 when something that is needed is missing."""
    checks = doctor_checks.machine(Home.default()) + doctor_checks.stack(Home.default())
    for check in checks:
        mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}[check.verdict]
        out.print(f"{mark} {check.what:<26} {check.detail}", soft_wrap=True)
    if any(check.verdict == "bad" for check in checks):
        sys.exit(1)
