"""Fails if the compiler has taken the vectors of a hot loop apart, element by element.

    python vectors.py OBJECT...        (objects of one SIMD level; needs objdump)

In code that is vectorised, elements are moved into and out of registers at the ends of a loop at
most. A loop that was split into scalars, as GCC splits vectors wider than a register, consists of
such moves, so their share in a function tells.
"""

from __future__ import annotations

import re
import subprocess
import sys

HOT = re.compile(
    r"cpu::(poisson|neuron_|advance|retreat|slope_row|synapse_|drive_|draw_law|draw_gaps)"
)
MOVE = re.compile(r"\tv?(pinsr[bwdq]|pextr[bwdq]|insertps|extractps)\b")
MOST = 0.02  # of the instructions; in a function with a loop that is taken apart it is 8 % or more
FEW = 4  # moves that a short function may have


def functions(path: str) -> dict[str, list[str]]:
    """The instructions of each function of an object."""
    text = subprocess.run(
        ["objdump", "-d", "-C", "--no-show-raw-insn", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            body = found.setdefault(head[1], [])
        elif line.startswith(" "):
            body.append(line)
    return found


def main(paths: list[str]) -> int:
    hot = 0
    wrong = []
    for path in paths:
        for name, body in functions(path).items():
            if not HOT.search(name):
                continue
            hot += 1
            moves = sum(bool(MOVE.search(line)) for line in body)
            if moves > max(FEW, MOST * len(body)):
                wrong.append(f"{path}: {name}: {moves} of {len(body)} instructions move elements")
    print(*wrong, f"{hot} hot functions, {len(wrong)} taken apart", sep="\n")
    return 1 if wrong or not hot else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
