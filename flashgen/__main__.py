"""``python -m flashgen``."""

from flashgen.cli.app import main

if __name__ == "__main__":
    main()
