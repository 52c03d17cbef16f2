"""Initial values of parameters and states: `XavierNormal()((100, 10))`."""

from .combined import Clipped as Clipped
from .combined import Conditional as Conditional
from .combined import Mixture as Mixture
from .combined import Scaled as Scaled
from .distributions import Beta as Beta
from .distributions import Exponential as Exponential
from .distributions import Gamma as Gamma
from .distributions import LogNormal as LogNormal
from .distributions import Normal as Normal
from .distributions import TruncatedNormal as TruncatedNormal
from .distributions import Uniform as Uniform
from .distributions import Weibull as Weibull
from .initializers import Constant as Constant
from .initializers import Initializer as Initializer
from .initializers import ZeroInit as ZeroInit
from .matrices import DeltaOrthogonal as DeltaOrthogonal
from .matrices import Identity as Identity
from .matrices import Orthogonal as Orthogonal
from .param import param as param
from .scaling import KaimingNormal as KaimingNormal
from .scaling import KaimingUniform as KaimingUniform
from .scaling import LecunNormal as LecunNormal
from .scaling import LecunUniform as LecunUniform
from .scaling import VarianceScaling as VarianceScaling
from .scaling import XavierNormal as XavierNormal
from .scaling import XavierUniform as XavierUniform
