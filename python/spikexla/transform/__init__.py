"""Transforms of functions that read and write States: the names of jax, aware of States."""

from ..state import TraceError as TraceError
from .cond import BranchError as BranchError
from .cond import cond as cond
from .cond import switch as switch
from .grad import UnusedStateWarning as UnusedStateWarning
from .grad import grad as grad
from .grad import value_and_grad as value_and_grad
from .jit import JittedFunction as JittedFunction
from .jit import jit as jit
from .loops import CarryError as CarryError
from .loops import for_loop as for_loop
from .loops import scan as scan
from .loops import while_loop as while_loop
from .remat import checkpoint as checkpoint
from .staged import clear_cache as clear_cache
from .vmap import BatchAxisError as BatchAxisError
from .vmap import vmap as vmap
