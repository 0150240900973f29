"""`python -m camelid`: the same as the command `camelid`."""

from camelid.cli.main import main

main()
