"""`python -m spikexla.cli` is the same as the command `spikexla`."""

from .main import main

if __name__ == "__main__":
    raise SystemExit(main())
