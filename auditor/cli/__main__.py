"""`python -m auditor.cli` is `audit`."""

from auditor.cli.main import run

if __name__ == "__main__":
    run()
