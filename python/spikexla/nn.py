"""`spikexla.nn`: modules, what walks over them, and layers, by their names in brainstate.nn."""

from .comm import EventFixedNumConn as EventFixedNumConn
from .comm import EventFixedProb as EventFixedProb
from .comm import Linear as Linear
from .lifecycle import call_order as call_order
from .lifecycle import init_all_states as init_all_states
from .lifecycle import reset_all_states as reset_all_states
from .module import Module as Module
from .module import Sequential as Sequential
from .module import StateOverwriteWarning as StateOverwriteWarning
