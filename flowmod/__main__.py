"""`python -m flowmod` is the command `flowmod`."""

from .cli import main

main(prog_name="flowmod")
