"""`python -m flows` is the command `textmill`."""

from flows.cli import main

main()
