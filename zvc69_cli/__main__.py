"""`python -m zvc69_cli` is `zvc69`."""

from zvc69_cli.cli.main import run

if __name__ == "__main__":
    run()
