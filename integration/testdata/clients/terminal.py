"""Runs a program on a terminal of its own: terminal.py PROGRAM [ARGUMENT...]

Standard input has the steps, with a NUL between two: "see TEXT" waits until the
program shows TEXT, after what was seen before; "type TEXT" types it. Fails with
what was shown when the program ends, or is silent for long, before a TEXT.
"""
import os
import pty
import select
import sys

steps = sys.stdin.buffer.read().split(b"\0")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])

shown = b""
for step in steps:
    verb, text = step.split(b" ", 1)
    if verb == b"type":
        os.write(terminal, text)
        continue
    while text not in shown:
        if not select.select([terminal], [], [], 30)[0]:
            sys.exit(f"{text!r} is not shown in {shown!r}")
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the program has ended
            more = b""
        if not more:
            sys.exit(f"the program ended, {text!r} is not shown in {shown!r}")
        shown += more
    shown = shown[shown.index(text) + len(text):]
os.close(terminal)  # SIGHUP ends the program
os.waitpid(pid, 0)
