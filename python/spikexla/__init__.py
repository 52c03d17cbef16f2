"""Spiking neural networks in JAX: explicit state in Python, fused C++ and CUDA kernels underneath."""

from . import environ as environ
from . import init as init
from . import nn as nn
from . import random as random
from . import transform as transform
from . import units as units
from .backend import backend as backend
from .config import config as config
from .state import LongTermState as LongTermState
from .state import ParamState as ParamState
from .state import ShortTermState as ShortTermState
from .state import State as State
from .state import TraceError as TraceError
from .statedict import PathKey as PathKey
from .statedict import StateDict as StateDict
