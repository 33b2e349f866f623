"""The `ig3d` command: its subcommands, and how errors and interruptions end it."""

import sys
from typing import Annotated

import typer

from ig3d_ray.cli.audit import audit_app
from ig3d_ray.cli.cluster import cluster_app
from ig3d_ray.cli.compare import compare
from ig3d_ray.cli.data import data_app
from ig3d_ray.cli.data_check import data_check
from ig3d_ray.cli.export import export
from ig3d_ray.cli.extract import extract
from ig3d_ray.cli.import_ import import_app
from ig3d_ray.cli.ls import ls
from ig3d_ray.cli.plan import plan
from ig3d_ray.cli.predict import predict
from ig3d_ray.cli.report import report
from ig3d_ray.cli.rm import rm_app
from ig3d_ray.cli.run import run
from ig3d_ray.cli.say import say
from ig3d_ray.cli.search import search
from ig3d_ray.cli.serve import serve
from ig3d_ray.cli.show import show
from ig3d_ray.cli.steps import hide_steps, show_steps
from ig3d_ray.cli.submit import submit
from ig3d_ray.errors import Ig3dError, without_password

USER_ERROR, INTERRUPTED = 2, 130
MESSAGE_LENGTH = 240
ERROR_LENGTH = 290

app = typer.Typer(name="ig3d", no_args_is_help=True, pretty_exceptions_enable=False)
SPEC = "runs/searches/faces/faces-1a2b3c4d/best_ensemble.json"
for command, example in (
    (run, "ig3d run search_spaces/faces.yaml --storage runs"),
    (search, "ig3d search search_spaces/rafdb.yaml --storage runs --set protocol.kind=cross_fitted"),
    (plan, "ig3d plan search_spaces/rafdb.yaml --storage runs --gpus 8 --gpu-type A10G --price 0.45"),
    (submit, "ig3d submit search_spaces/rafdb.yaml --storage s3://bucket/ig3d --follow"),
    (extract, "ig3d extract --encoder smirk --checkpoint SMIRK_em1.pt --dataset rafdb --storage runs"),
    (predict, f"ig3d predict {SPEC} --images photos/ --out predictions.csv"),
    (compare, "ig3d compare deepface.json pyfeat.csv --labels labels.csv"),
    (report, "ig3d report runs/searches/faces/faces-1a2b3c4d --figures figures/"),
    (export, f"ig3d export {SPEC} --out bundle"),
    (serve, f"ig3d serve {SPEC} --port 8000"),
    (ls, "ig3d ls --storage runs"),
    (show, "ig3d show cnn-w16-ce-s0 --storage runs"),
):
    app.command(epilog=f"Example: {example}")(command)
app.add_typer(data_app, name="data")
data_app.command("check", epilog="Example: ig3d data check --dataset rafdb --storage runs")(data_check)
app.add_typer(import_app, name="import")
app.add_typer(rm_app, name="rm")
app.add_typer(audit_app, name="audit")
app.add_typer(cluster_app, name="cluster")


def _version(asked: bool) -> None:
    if asked:
        from ig3d_ray import __version__

        say(f"ig3d {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train facial-expression networks on Ray, cache their logits, find the best late fusion of 2D and 3D."""
    # These two wait for someone else. In a log an error stays one line; commands that write one show steps there too.
    if sys.stderr.isatty() and context.invoked_subcommand not in ("serve", "submit"):
        show_steps(first=f"ig3d {context.invoked_subcommand}")
    context.call_on_close(hide_steps)


def _one_line(message: str) -> str:
    """A message on one line of at most `ERROR_LENGTH` characters, its end kept: it is what to do."""
    message = " ".join(message.split())
    if len(message) <= ERROR_LENGTH:
        return message
    return f"{message[: ERROR_LENGTH - 103]} ... {message[-95:]}"


def main() -> None:
    """Entry point: an error that the user can correct is one line on stderr and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except Ig3dError as error:
        say(f"ig3d: {_one_line(without_password(str(error)))}", err=True)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # Typer's errors of usage have no public base class in all versions; they alone format a message.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        help_of = context.command_path if context else "ig3d"
        message = " ".join(str(error.format_message()).replace("Value error, ", "").split()).rstrip(".")
        # Without arguments the help has been shown, and there is nothing to add.
        if message:
            say(f"ig3d: {message[:MESSAGE_LENGTH]}; see `{help_of} --help`", err=True)
    sys.exit(USER_ERROR)
