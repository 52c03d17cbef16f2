"""`spikexla.nn`: modules and what walks over them."""

from .module import Module as Module
from .module import Sequential as Sequential
from .module import StateOverwriteWarning as StateOverwriteWarning
from .module import call_order as call_order
from .module import init_all_states as init_all_states
from .module import reset_all_states as reset_all_states
