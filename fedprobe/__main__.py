"""`python -m fedprobe`."""

from fedprobe.cli.main import main

main()
