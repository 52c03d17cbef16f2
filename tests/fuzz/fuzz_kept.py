"""After any changes in place, a program that is kept gives what Python gives."""

from kept_cases import CHANGES, RIGHT, Ways, World, agree

_worlds: list = []  # of earlier cases, whose programs are still there


def case(rng):
    if not _worlds or rng.random() < 0.1:
        world = World()
        _worlds[:] = [*_worlds[-1:], (world, Ways(world))]
    world, ways = _worlds[rng.integers(len(_worlds))]
    done = []
    for _ in range(rng.integers(1, 6)):
        for change in rng.choice(list(CHANGES), rng.integers(0, 3)):
            value = float(rng.choice([0.5, 1.0, 1.25, 2.0]))
            CHANGES[change](world, value)
            done.append(f"{change} = {value}")
        agree(world, ways, rng.choice(list(RIGHT)), "; ".join(done))
