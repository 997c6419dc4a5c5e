"""`python -m tidr.cli`: the command `tidr`."""

from . import app

app(prog_name="tidr")
