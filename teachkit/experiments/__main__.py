"""Run experiments and save their tables: `python -m teachkit.experiments [NAME ...]`."""

import sys

from .studies import run_studies

run_studies(sys.argv[1:])
