"""Who is wired to whom: containers of connectivity and the builders that fill them."""

from .base import CSR as CSR
from .base import Connectivity as Connectivity
from .base import FixedFanOut as FixedFanOut
from .distance import distance as distance
from .distributions import Distribution as Distribution
from .distributions import LogNormal as LogNormal
from .distributions import Normal as Normal
from .distributions import Uniform as Uniform
from .fixed_num import fixed_num_post as fixed_num_post
from .fixed_num import fixed_num_pre as fixed_num_pre
from .fixed_prob import fixed_prob as fixed_prob
from .fixed_total import fixed_total as fixed_total
from .from_arrays import from_arrays as from_arrays
from .from_arrays import from_dense as from_dense
from .from_arrays import from_scipy as from_scipy
from .from_file import Edges as Edges
from .from_file import from_file as from_file
from .regular import all_to_all as all_to_all
from .regular import one_to_one as one_to_one
