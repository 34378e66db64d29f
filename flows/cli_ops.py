"""The commands `ops`: what a Prefect server of one's own needs, put there, shown and taken away."""

import typer

from flows.settings import prepare_prefect

app = typer.Typer(
    help="Crash recovery on the Prefect server of PREFECT_API_URL (docs/recovery.md).", no_args_is_help=True
)


@app.command()
def install() -> None:
    """Let dead runs be noticed and crashed ones be started again; done twice it changes nothing."""
    prepare_prefect()
    from flows import ops

    for name, what in ops.install().items():
        print(f"{name:<20} {what}")


@app.command()
def show() -> None:
    """Show the two automations as the server has them."""
    prepare_prefect()
    from flows import ops

    for name, there in ops.installed().items():
        state = "absent: textmill ops install"
        if there is not None:
            state = "on" if there.enabled else "paused"
            state += "" if ops.is_current(there) else ", of another version: textmill ops install"
        print(f"{name:<20} {state}")
        if there is not None:
            print(f"  {there.description}")


@app.command()
def remove() -> None:
    """Take them away: dead runs stay `Running`, crashed ones stay crashed."""
    prepare_prefect()
    from flows import ops

    for name in ops.remove() or ["nothing was there"]:
        print(name)
