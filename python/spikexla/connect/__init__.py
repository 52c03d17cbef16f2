"""Who is wired to whom: containers of connectivity and the builders that fill them."""

from .base import CSR as CSR
from .base import Connectivity as Connectivity
from .base import FixedFanOut as FixedFanOut
from .fixed_num import fixed_num_post as fixed_num_post
from .fixed_prob import fixed_prob as fixed_prob
from .from_arrays import from_arrays as from_arrays
from .from_arrays import from_dense as from_dense
from .from_arrays import from_scipy as from_scipy
