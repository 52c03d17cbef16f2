"""Who is wired to whom: containers of connectivity and the builders that fill them."""

from .base import CSR as CSR
from .base import Connectivity as Connectivity
from .base import FixedFanOut as FixedFanOut
from .distributions import Distribution as Distribution
from .distributions import LogNormal as LogNormal
from .distributions import Normal as Normal
from .distributions import Uniform as Uniform
from .drawn import Drawn as Drawn
from .drawn import draw as draw
from .fixed_num import fixed_num_post as fixed_num_post
from .fixed_prob import fixed_prob as fixed_prob
from .from_arrays import from_arrays as from_arrays
from .from_arrays import from_dense as from_dense
from .from_arrays import from_scipy as from_scipy
from .rules import AllToAll as AllToAll
from .rules import FixedInDegree as FixedInDegree
from .rules import FixedOutDegree as FixedOutDegree
from .rules import FixedProb as FixedProb
from .rules import FixedTotal as FixedTotal
from .rules import OneToOne as OneToOne
from .rules import Rule as Rule
