"""The subcommands of `banyan`, one module a family."""
