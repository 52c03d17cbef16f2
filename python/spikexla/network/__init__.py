"""Whole networks."""

from .coba import COBANet as COBANet
from .cuba import CUBANet as CUBANet
