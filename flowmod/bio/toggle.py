"""The genetic toggle switch: two genes that repress each other, which is a Riemannian gradient flow."""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from ..flow import AbstractFlow, Equilibria, Units, equilibria, freeze_units
from ..metric import DiagonalMetric

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)


class ToggleSwitch(AbstractFlow):
    """The flow that `toggle_switch` makes.

    Attributes:
        a1: synthesis of `u` without its repressor.
        a2: synthesis of `v` without its repressor.
        n: cooperativity of the repression of `u`.
        m: cooperativity of the repression of `v`.
    """

    a1: Float[Array, ""]
    a2: Float[Array, ""]
    n: Float[Array, ""]
    m: Float[Array, ""]
    units: Units = eqx.field(static=True)
    balanced: ClassVar[bool] = True

    def __init__(self, a1, a2, n, m):
        self.a1, self.a2, self.n, self.m = (jnp.asarray(value, dtype=_float_of(value)) for value in (a1, a2, n, m))
        self.units = freeze_units({"u": "1", "v": "1", "time": "1", "potential": "1"})

    def vector_field(self, t, y, args=None):
        u, v = jnp.asarray(y["u"]), jnp.asarray(y["v"])
        return {"u": _repression(self.a1, self.n, v) - u, "v": _repression(self.a2, self.m, u) - v}

    @property
    def metric(self) -> DiagonalMetric:
        """`diag(-g'(u), -f'(v))`: how steeply each gene's product turns the other gene off."""
        return DiagonalMetric(self._sensitivities)

    def _sensitivities(self, y, args):
        u, v = jnp.asarray(y["u"]), jnp.asarray(y["v"])
        return {"u": _sensitivity(self.a2, self.m, u), "v": _sensitivity(self.a1, self.n, v)}

    def potential(self, y, args=None):
        """`V = f(v) g(u) - int_0^u s g'(s) ds - int_0^v s f'(s) ds`."""
        u, v = jnp.asarray(y["u"]), jnp.asarray(y["v"])
        production = _repression(self.a1, self.n, v) * _repression(self.a2, self.m, u)
        return production + _turnover(self.a2, self.m, u) + _turnover(self.a1, self.n, v)

    def position(self, y):
        return y

    def energy(self, t, y, args=None):
        return self.potential(y, args)

    def dissipation(self, t, y, velocity, args=None):
        return self.metric.inner(y, velocity, velocity, args)

    @property
    def box(self) -> tuple[dict, dict]:
        """A box that the flow enters and never leaves: nothing is made faster than without its repressor."""
        return {"u": 0.0, "v": 0.0}, {"u": float(self.a1), "v": float(self.a2)}

    def equilibria(self) -> Equilibria:
        """The equilibria found in `box`."""
        return equilibria(self, self.box)


def toggle_switch(a1=3.0, a2=3.0, n=2.0, m=None) -> ToggleSwitch:
    """The toggle switch `u' = f(v) - u`, `v' = g(u) - v` with `f = a1 / (1 + v^n)` and `g = a2 / (1 + u^m)`.

    Two genes repress each other. The flow integrates this plain right-hand side; its metric `diag(-g', -f')` and
    its potential, with which it equals `-M^-1 grad V`, serve the energy ledger, the landscape and the rates. The
    metric vanishes at `u = 0` if `m > 1` and at `v = 0` if `n > 1`. Concentrations and time are dimensionless (time
    in units of the repressors' lifetime). The state is a dict with keys `u` and `v`.

    Args:
        a1: the rate of synthesis of `u` without its repressor, positive.
        a2: that of `v`.
        n: the cooperativity of the repression of `u` by `v`, at least 1.
        m: that of the repression of `v` by `u`; `n` by default.

    Returns:
        A flow, with `.equilibria()` and the invariant `.box` as extras.

    Raises:
        ValueError: if a parameter is not a positive number or a cooperativity is below 1.

    Example:
        ```python
        toggle = fm.bio.toggle_switch(156.25, 15.6, n=2.5, m=1.0)  # the plasmid pTAK117 without IPTG
        ```

    Reference: T. S. Gardner, C. R. Cantor, J. J. Collins, "Construction of a genetic toggle switch in Escherichia
    coli", Nature 403 (2000) 339; BioModels BIOMD0000000507. The metric form is of the Cohen-Grossberg class.
    """
    parameters = {"a1": a1, "a2": a2, "n": n, "m": n if m is None else m}
    for name, value in parameters.items():
        least = 1.0 if name in ("n", "m") else 0.0
        if isinstance(value, Tracer):
            continue
        is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"
        if not (is_number and np.isfinite(value) and value >= least and value > 0):
            raise ValueError(f"`{name}` must be a number {'>= 1' if least else '> 0'}, got {value!r}.")
    return ToggleSwitch(**parameters)


def _float_of(value):
    dtype = jnp.result_type(value)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def _power(x, exponent):
    """`x^exponent` for `x >= 0`; below, where an overshoot of rounding size must not make a NaN, 0 or the line `x`."""
    inside = x > 0
    # Without cooperativity the power is a line through 0, and has a slope there.
    outside = jnp.where(exponent == 1, x, jnp.zeros_like(x))
    return jnp.where(inside, jnp.where(inside, x, 1) ** exponent.astype(x.dtype), outside)


def _repression(a, n, x):
    """Hill repression `a / (1 + x^n)`."""
    return a.astype(x.dtype) / (1 + _power(x, n))


def _sensitivity(a, n, x):
    """Minus the derivative of `_repression`: `a n x^(n-1) / (1 + x^n)^2`, positive for `x > 0`."""
    power, a, n = _power(x, n), a.astype(x.dtype), n.astype(x.dtype)
    # x^(n-1) as x^n / x: the field has x^n already. Without cooperativity it is 1, at x = 0 too.
    inside = x > 0
    slope = jnp.where(inside, power / jnp.where(inside, x, 1), jnp.where(n == 1, 1, 0).astype(x.dtype))
    return a * n * slope / (1 + power) ** 2


@jax.custom_jvp
def _turnover(a, n, x):
    """`int_0^x s * sensitivity(s) ds`, by Gauss-Legendre quadrature in `s = expm1(L w^2)`.

    The substitution spreads the nodes by orders of magnitude, as `s` wants, and the square smooths the power at 0:
    96 nodes give full double precision. The closed form is a hypergeometric function outside of JAX's range.
    """
    w = ((_NODES + 1) / 2).astype(x.dtype)
    weights = (_WEIGHTS / 2).astype(x.dtype)
    top = jnp.log1p(jnp.maximum(x, 0))[..., None]
    s = jnp.expm1(top * w**2)
    jacobian = (1 + s) * 2 * top * w
    return jnp.sum(weights * jacobian * s * _sensitivity(a, n, s), axis=-1)


@partial(_turnover.defjvp, symbolic_zeros=True)
def _turnover_jvp(primals, tangents):
    (a, n, x), (da, dn, dx) = primals, tangents
    value = _turnover(a, n, x)
    change = jnp.zeros_like(value) if isinstance(dx, SymbolicZero) else x * _sensitivity(a, n, x) * dx
    if not (isinstance(da, SymbolicZero) and isinstance(dn, SymbolicZero)):
        along = tuple(jnp.zeros_like(p) if isinstance(d, SymbolicZero) else d for p, d in ((a, da), (n, dn)))
        change = change + jax.jvp(lambda a, n: _turnover.fun(a, n, x), (a, n), along)[1]
    return value, change
