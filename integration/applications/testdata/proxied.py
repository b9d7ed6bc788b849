"""What the Python clients share: where they connect to, and who restarts the server."""
import os
import sys

MODE = os.environ["MODE"]
HOST, PORT = "127.0.0.1", int(os.environ["PGPORT"])
USER, PASSWORD, DATABASE = os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGDATABASE"]
STATEMENT = MODE == "statement"


def check(what, got, want):
    if got != want:
        raise SystemExit(f"{MODE} mode: {what}: got {got!r}, want {want!r}")


def restart():
    """Has the test restart the server."""
    print("restart", flush=True)
    check("the test", sys.stdin.readline(), "restarted\n")
