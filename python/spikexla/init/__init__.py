"""Initial values of parameters and states: `XavierNormal()((100, 10))`."""

from .initializers import Constant as Constant
from .initializers import Identity as Identity
from .initializers import Initializer as Initializer
from .initializers import KaimingNormal as KaimingNormal
from .initializers import KaimingUniform as KaimingUniform
from .initializers import Normal as Normal
from .initializers import Orthogonal as Orthogonal
from .initializers import Uniform as Uniform
from .initializers import XavierNormal as XavierNormal
from .initializers import XavierUniform as XavierUniform
from .initializers import ZeroInit as ZeroInit
from .param import param as param
