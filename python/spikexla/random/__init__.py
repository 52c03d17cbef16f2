"""Random draws from one seeded stream, the same numbers compiled or not.

The stream is a State that holds a key.  Each draw splits it: the first half is the new key of the
stream, the second makes the numbers.  Every draw takes `key=` to use that key instead, and
`dtype=`; `size` is an int or a tuple, None for the common shape of the parameters.  Parameters may
be quantities of brainunit.  Under `vmap` each lane draws from a key of its own.
"""

from .default import DEFAULT as DEFAULT
from .default import bernoulli as bernoulli
from .default import beta as beta
from .default import binomial as binomial
from .default import categorical as categorical
from .default import chisquare as chisquare
from .default import choice as choice
from .default import default_rng as default_rng
from .default import dirichlet as dirichlet
from .default import exponential as exponential
from .default import f as f
from .default import gamma as gamma
from .default import geometric as geometric
from .default import get_key as get_key
from .default import gumbel as gumbel
from .default import laplace as laplace
from .default import loggamma as loggamma
from .default import logistic as logistic
from .default import lognormal as lognormal
from .default import maxwell as maxwell
from .default import multinomial as multinomial
from .default import multivariate_normal as multivariate_normal
from .default import negative_binomial as negative_binomial
from .default import normal as normal
from .default import orthogonal as orthogonal
from .default import pareto as pareto
from .default import permutation as permutation
from .default import poisson as poisson
from .default import power as power
from .default import rand as rand
from .default import rand_like as rand_like
from .default import randint as randint
from .default import randint_like as randint_like
from .default import randn as randn
from .default import randn_like as randn_like
from .default import random as random
from .default import random_integers as random_integers
from .default import rayleigh as rayleigh
from .default import seed as seed
from .default import seed_context as seed_context
from .default import set_key as set_key
from .default import shuffle as shuffle
from .default import split_key as split_key
from .default import split_keys as split_keys
from .default import standard_cauchy as standard_cauchy
from .default import standard_exponential as standard_exponential
from .default import standard_gamma as standard_gamma
from .default import standard_normal as standard_normal
from .default import standard_t as standard_t
from .default import t as t
from .default import triangular as triangular
from .default import truncated_normal as truncated_normal
from .default import uniform as uniform
from .default import wald as wald
from .default import weibull as weibull
from .default import weibull_min as weibull_min
from .stream import RandomState as RandomState
