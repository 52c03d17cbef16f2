"""Synapse models, and what they do to the membrane: a conductance or a current."""

from .base import Synapse as Synapse
from .base import SynOut as SynOut
from .coba import COBA as COBA
from .cuba import CUBA as CUBA
from .delta import Delta as Delta
from .expon import Expon as Expon
