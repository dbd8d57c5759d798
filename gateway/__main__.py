"""`python -m gateway serve | explain`: the gateway's own command line."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import structlog

from gateway import compiled
from gateway.errors import GatewayError
from gateway.settings import Settings, from_environment


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Banyan's gateway: sends each request to the side that should answer it."""


def _settings() -> Settings:
    return from_environment(os.environ)


@contextlib.contextmanager
def _to_stay() -> Iterator[None]:
    """For imports: nothing of them is garbage, neither now, when it would be looked for a hundred times, nor later."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@cli.command()
@click.option("--take-over", is_flag=True, help="Replace the gateway that runs with the same GATEWAY_STATE_DIR.")
def serve(take_over: bool) -> None:
    """Serve clients and the admin API until SIGTERM. Settings come from the environment (GATEWAY_…)."""
    with _to_stay():
        from gateway.parent import Parent

    sys.exit(Parent(_settings()).run(take_over=take_over))


@cli.command()
def upgrade() -> None:
    """Let the running gateway start a new one in its place; no request is lost. Answers when it serves."""
    from gateway.upgrade import upgrade as upgraded

    old, new = upgraded(_settings())
    click.echo(f"the gateway with pid {new} serves; {old} finishes what is under way")


@cli.command()
def reload() -> None:
    """Let the running gateway read its certificates, and open its access log, anew."""
    from gateway.upgrade import running

    os.kill(running(_settings()), signal.SIGHUP)


@cli.command(hidden=True)
@click.option("--index", type=int, required=True)
@click.option("--plain", type=int, multiple=True, help="A socket's file descriptor.")
@click.option("--tls", type=int, multiple=True)
@click.option("--waits", is_flag=True)
def worker(index: int, plain: tuple[int, ...], tls: tuple[int, ...], waits: bool) -> None:
    """One worker; started by `serve`."""
    with _to_stay():
        from gateway.worker import run

    run(_settings(), index, plain, tls, waits=waits)


@cli.command(hidden=True)
@click.option("--fd", type=int, required=True, help="A socket's file descriptor.")
def admin(fd: int) -> None:
    """The admin process; started by `serve`."""
    # Litestar takes a page's shape from it where it is installed, and all of SQLAlchemy with it: half of this
    # process's start and a third of its memory, for nothing.
    sys.modules.setdefault("advanced_alchemy", None)  # type: ignore[arg-type]
    with _to_stay():
        from gateway.control.process import run

    run(_settings(), fd)


@cli.command("compile")
def compile_data_path() -> None:
    """Make machine code of the data path: a gateway that is started takes it. Needs mypy and a C compiler; a minute."""
    from gateway.compiling import compile_data_path as compile_it

    made, anew = compile_it()
    click.echo(f"{'compiled' if anew else 'is compiled already'}: {made}; a gateway that is started takes it")


@cli.command()
@click.argument("method")
@click.argument("path")
@click.option("--table", "file", type=click.Path(path_type=Path), required=True, help="Route table (JSON).")
@click.option("--key", help="The partition key, instead of finding it in the request.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
def explain(method: str, path: str, file: Path, key: str | None, headers: tuple[str, ...]) -> None:
    """Say which side would answer METHOD PATH, and why. Asks nobody."""
    from gateway.control.stored import load_file
    from gateway.routing.explain import explain as explained

    for line in explained(load_file(file), method, path, headers, key).lines():
        click.echo(line)


def _log_to_stderr() -> None:
    """One JSON object a line, as every component does."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Every expected failure is one line and exit code 1."""
    compiled.use()
    _log_to_stderr()
    try:
        cli(standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except GatewayError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
