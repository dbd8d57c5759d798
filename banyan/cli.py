"""The `banyan` command. Subcommands live in `banyan/commands/`, imported when called, so that `--help` is quick."""

from __future__ import annotations

import errno
import importlib
import sys

import click

from banyan.errors import BanyanError

# name → (module, attribute, one line for --help)
COMMANDS = {
    "up": ("banyan.commands.stack", "up", "Start the local stack and leave it running."),
    "down": ("banyan.commands.stack", "down", "Stop the local stack."),
    "logs": ("banyan.commands.stack", "logs", "Show what the stack's processes wrote."),
    "doctor": ("banyan.commands.stack", "doctor", "Check this machine and the running stack."),
    "demo": ("banyan.commands.demo", "demo", "Move pricing to its service and back, under load, in front of you."),
    "load": ("banyan.commands.load", "load", "Let clients read and write on the running stack; check what they wrote."),
    "status": ("banyan.commands.plan", "status", "Show where every domain stands."),
    "preflight": ("banyan.commands.verbs", "preflight", "Measure every gate of the next step and of the switch."),
    "advance": ("banyan.commands.plan", "advance", "Take a domain one phase forward (shadow, canary)."),
    "shadow": ("banyan.commands.verbs", "shadow", "Let a domain's service answer copies of the reads, to compare."),
    "canary": ("banyan.commands.verbs", "canary", "Let the service answer a share of a domain's reads."),
    "switch": ("banyan.commands.plan", "switch", "Move a domain's writes to its service."),
    "rollback": ("banyan.commands.plan", "rollback", "Take a domain one step back."),
    "freeze": ("banyan.commands.freeze", "freeze", "Let a domain go back, but no step forward."),
    "unfreeze": ("banyan.commands.freeze", "unfreeze", "Let a frozen domain go forward again."),
    "steward": ("banyan.commands.steward", "steward", "Watch the gates of each stage; step back when they fail."),
    "abort": ("banyan.commands.verbs", "abort", "End a half-done step of a domain backwards."),
    "complete": ("banyan.commands.verbs", "complete", "Retire a domain at the monolith, for good."),
    "verify": ("banyan.commands.verify", "verify", "Compare a domain's two sides row by row."),
    "mapping": ("banyan.commands.mapping", "mapping", "Lint a mapping; check it on every row of both sides."),
    "snapshot": ("banyan.commands.snapshot", "snapshot", "Read a domain's rows again while it is on line."),
    "differences": ("banyan.commands.differences", "differences", "Show in what the two sides' answers differ."),
    "history": ("banyan.commands.plan", "history", "Show the ledger."),
    "prepare": ("banyan.commands.plan", "prepare", "Install guards, publications and slots for a domain."),
    "stream": ("banyan.commands.stream", "stream", "Resume a halted stream, recover a lost slot, move to Kafka."),
    "plan": ("banyan.commands.plan_tools", "plan", "Lint, show, compare, draw, compile and publish the plan."),
    "route": ("banyan.commands.route", "route", "Explain where a request goes; let a tester choose."),
    "gateway": ("banyan.commands.gateway", "gateway", "Watch the gateway's decisions as it takes them."),
    "drill": (
        "banyan.commands.drill",
        "drill",
        "Kill parts on purpose, on a scratch stack, and account for every row.",
    ),
    "model": ("banyan.commands.model", "model", "Look at every state of a switch, within bounds."),
    "bench": ("banyan.commands.bench", "bench", "Measure against peers, side by side."),
}


# What the user can do when the disk refuses us.
_DISK = {
    errno.ENOSPC: "make room, or set BANYAN_HOME to a folder on another disk",
    errno.EROFS: "set BANYAN_HOME to a folder that can be written to",
    errno.EACCES: "it belongs to another user: act as that user, or set BANYAN_HOME to a folder of your own",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports each only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="banyan-migrator")
def cli() -> None:
    """Banyan moves a running monolith to services, one domain at a time, with a way back at every step."""


def main() -> None:
    """Run, and turn every expected failure into one line and an exit code."""
    try:
        cli(standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BanyanError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        click.echo(f"error: {error.filename or 'the disk'}: {error.strerror}: {_DISK[error.errno]}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
