"""Projections: from the spikes of one population to the inputs of another."""

from .align_post import AlignPostProj as AlignPostProj
from .base import Projection as Projection
from .current import CurrentProj as CurrentProj
from .delta import DeltaProj as DeltaProj
from .poisson_input import PoissonInput as PoissonInput
