"""The entry point: one Typer application, every error as one line, internal errors without values."""

import os
import sys
import traceback
from types import TracebackType
from typing import Annotated

import typer

from fedprobe import __version__
from fedprobe.cli import classifier, config, data, gan, init, language, ledger, output, privacy
from fedprobe.cli.compare import compare
from fedprobe.cli.density import COMMAND as DENSITY
from fedprobe.cli.density import train_density
from fedprobe.cli.export import export
from fedprobe.cli.ranks import first_rank, leave
from fedprobe.cli.report import report
from fedprobe.cli.sample import sample
from fedprobe.cli.select import select
from fedprobe.errors import FedprobeError

app = typer.Typer(
    name="fedprobe",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"fedprobe {__version__}")
        raise typer.Exit


# No variable sets it: FEDPROBE_VERSION may well be something else.
_VERSION = typer.Option(
    "--version", help="Say which version this is.", is_eager=True, callback=_say_version, allow_from_autoenv=False
)


@app.callback()
def _fedprobe(version: Annotated[bool, _VERSION] = False) -> None:
    """Debug models on data you may not look at: federated generative models under user-level differential privacy."""


app.command("init")(init.init)
app.add_typer(data.app, name="data")
app.command("train-classifier")(classifier.train_classifier)
app.command(DENSITY)(train_density)
app.command("select")(select)
app.command("train-gan")(gan.train_gan)
app.command(language.WORDS)(language.train_charlm)
app.command(language.SENTENCES)(language.train_wordlm)
app.command("sample")(sample)
app.command("export")(export)
app.command("compare")(compare)
app.command("report")(report)
app.command("privacy")(privacy.privacy)
app.command("ledger")(ledger.ledger)

# Typer's own usage errors, found without importing the click that some versions of it do not have.
_ClickError = typer.BadParameter.__mro__[2]


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    sys.excepthook = _without_values
    with first_rank():
        code = _run(sys.argv[1:] if arguments is None else arguments)
    leave(code)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    _hide_variables(command)
    as_json = "--json" in arguments
    try:
        settings = config.load(_options_of(command))
        code = command.main(
            args=arguments,
            prog_name="fedprobe",
            standalone_mode=False,
            default_map=settings.defaults,
            obj=settings,
            auto_envvar_prefix="FEDPROBE",
        )
    except FedprobeError as error:
        output.error(str(error), error.exit_code, as_json)
        code = error.exit_code
    except _ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            code = 0
        else:
            where = getattr(error, "ctx", None)
            path = where.command_path if where is not None else "fedprobe"
            message = _said_elsewhere(error) + error.format_message().removeprefix("Invalid value: ").rstrip(".")
            if message.startswith("No such command") and where.command is command:
                message += _in_a_group(command, arguments)
            output.error(f"{message}{'' if message.endswith('?') else '.'} See: {path} --help", 2, as_json)
            code = 2
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; closing stdout again at exit would only complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        # A file that the command was told to read or write; faults of the data's own files are DataErrors.
        if error.filename is None:
            raise
        output.error(f"{error.filename}: {error.strerror}; choose another place for it", 2, as_json)
        code = 2
    return code or 0


def _options_of(group: object) -> dict[str, dict[str, str]]:
    """For each command, its options as fedprobe.toml spells them and the parameters they set."""
    return {
        name: {option.lstrip("-"): parameter.name for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
        # What init fixes beside the data is said on the command line, never by a file or a variable.
        if not hasattr(command, "commands") and name != "init"
    }


def _in_a_group(command: object, arguments: list[str]) -> str:
    """Where a command that there is not is one of a group: `describe` is `data describe`."""
    groups = {name: getattr(inner, "commands", {}) for name, inner in command.commands.items()}
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    meant = [f"fedprobe {name} {asked}" for name, inner in groups.items() if asked in inner]
    return f"; {' or '.join(meant)} is one" if meant else ""


def _said_elsewhere(error: Exception) -> str:
    """The file or the variable that an option's bad value came from; nothing for the command line."""
    where, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    source = None if where is None or parameter is None else where.get_parameter_source(parameter.name)
    match None if source is None else source.name:
        case "DEFAULT_MAP":
            return f"{where.obj.path}: "
        case "ENVIRONMENT":
            return f"{where.auto_envvar_prefix}_{parameter.name.upper()}: "
    return ""


def _hide_variables(command: object) -> None:
    """Leave the FEDPROBE_* variable of every option out of the help: the README has the rule."""
    for parameter in command.params:
        parameter.show_envvar = False
    for inner in getattr(command, "commands", {}).values():
        _hide_variables(inner)


def _without_values(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An internal error: where it happened, without its message, which could hold a value of the data."""
    print("".join(traceback.format_tb(trace)), end="", file=sys.stderr)
    print(
        f"internal error: {kind.__name__} (its message is withheld: it could hold private data)",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
