"""`python -m lockside` is `lockside`."""

from lockside.cli.main import main

if __name__ == "__main__":
    main(prog_name="lockside")
