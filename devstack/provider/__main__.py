"""Run the simulator: `python -m paidonce.devstack.provider --help`."""

from paidonce.devstack.provider.main import main

main()
