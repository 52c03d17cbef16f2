"""`keep_memory`: freed arrays stay with the process, for the next ones."""

from __future__ import annotations

from .ops import library


def keep_memory() -> None:
    """Lets malloc keep the memory of freed arrays and give it to the next ones, for good.

    By default glibc returns arrays of 32 MiB and more to the system, and the system zeroes every
    page of the next one: for a layer with large results, or for its gradient, that takes as long as
    the arithmetic. Pure JAX gains as well. In return the process holds the most memory that it ever
    needed. Call it once, before the work begins; it cannot be taken back.

    Errors: OSError where malloc has no such switch (only glibc's has).

    >>> import spikexla as sx
    >>> sx.keep_memory()                                                  # doctest: +SKIP
    """
    if not library.native().keep_memory():
        raise OSError(
            "this system's malloc cannot be told to keep freed memory (glibc's can). Leave the "
            "call out: results are the same, large ones take longer to allocate"
        )
