"""Checkpoints: everything a run needs to go on, written as a whole or not at all."""

from .files import load_checkpoint as load_checkpoint
from .files import restore as restore
from .files import save as save
from .files import save_checkpoint as save_checkpoint
from .manager import Manager as Manager
from .manager import Restored as Restored
from .snapshot import CheckpointError as CheckpointError
