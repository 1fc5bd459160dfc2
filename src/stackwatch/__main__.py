"""`python -m stackwatch`: the same as the command `stackwatch`."""

from stackwatch.cli.app import main

if __name__ == "__main__":
    main()
