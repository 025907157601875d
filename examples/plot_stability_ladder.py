"""
What one sample changes
=======================

Replace one of :math:`n` samples and train again from the same start: how far does the loss of any sample move? A flow
that contracts forgets what pushes it apart. The two runs differ by one sample's gradient, at most
:math:`2 \\kappa / n` long, and they are pulled together at the rate :math:`\\lambda`, so that no loss changes by more
than

.. math:: \\beta = \\frac{2 \\kappa^2}{\\mu n} \\, \\frac{1 - e^{-\\lambda t}}{\\lambda} ,

with :math:`\\mu` the smallest eigenvalue of the metric. ``fm.stability_bound`` is this formula,
``fm.measure_stability`` trains the twins, and this page holds the one against the other: for a model whose constants
are known, and for a network that does not contract.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# The data
# --------
#
# Images of the digits 0, 1 and 2 at a resolution of 4 by 4: a pool of 537. The data come to a flow as ``args``, so that
# it can be run on any of them.

digits = load_digits()
some = np.flatnonzero(digits.target < 3)
images = digits.images[some].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16) / 16
pool = (images, digits.target[some])
SIZES, DECAY = np.array([25, 75, 225]), 0.1
runs = {"t1": 20.0, "sizes": SIZES, "key": jax.random.key(1), "step_size": 0.5}


def problem_of(module):
    return fm.Supervised(module, fm.SoftmaxCrossEntropy(), regularizer=fm.WeightDecay(DECAY))


# %%
# A model with constants that are known
# -------------------------------------
#
# The loss of softmax regression is convex, so that with weight decay its Euclidean flow contracts at the rate of the
# decay, whatever the data. The gradient of one sample's loss is :math:`(p - e_y) \otimes (x, 1)`, no longer than
# :math:`\kappa = \sqrt 2 \, |(x, 1)|`, and its second derivative is at most :math:`|(x, 1)|^2 / 2 = \kappa^2 / 4`. So
# the steps of gradient descent contract too, each by the factor :math:`1 - h \lambda`, if :math:`h` is at most
# :math:`2 / (2 \lambda + \kappa^2 / 4)`. What follows is a bound for all data with such images, and no estimate. The
# largest change of any loss, over 20 twins and all images of the pool, falls like :math:`1/n` below it.

regression = fm.Linear(16, 3, key=jax.random.key(0))
descent = fm.GradientFlow(problem_of(regression))
ladder = fm.measure_stability(descent, pool, regression, **runs)

kappa = np.sqrt(2 * (1 + np.sum(images**2, axis=1).max()))
assert runs["step_size"] < 2 / (2 * DECAY + kappa**2 / 4)
bound = fm.stability_bound(kappa, rate=DECAY, mu=1.0, n=SIZES, t=runs["t1"], step_size=runs["step_size"])
print(ladder, bound, sep="\n\n")
assert np.all(ladder.largest() < bound.beta)
assert abs(ladder.slope + 1) < 0.1
assert abs(ladder.fit(mean=True).slope + 1) < 0.1
ax = fm.plot.stability(ladder, bound)

# %%
# What it says of new images
# --------------------------
#
# A run that no sample moves much has not learned its samples by heart: the expected loss of new images is at most
# :math:`\beta` above that of its own. For 225 images that is 1, where the loss begins: true, and of little use, as such
# bounds are. The twins say that the true :math:`\beta` is a thirtieth of it.

promised, measured = bound.expected_gap[-1], ladder.largest()[-1]
print(f"expected gap at most {promised:.2f}; measured change of a loss at most {measured:.3f}")
assert measured < promised / 25

# %%
# A network
# ---------
#
# With a hidden layer the rate is negative at the start, and with this rate the time factor of the formula, at most
# :math:`1 / \lambda` for a flow that contracts, grows like :math:`e^{|\lambda| t}`. What one sample changes can be
# measured all the same. That it falls like :math:`1/n` is a fact about these data and this run; no constant of the flow
# promises it.

k1, k2 = jax.random.split(jax.random.key(1))
net = fm.Linear(16, 4, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(4, 3, key=k2)
training = fm.GradientFlow(problem_of(net))
twins = fm.measure_stability(training, pool, net, **runs)

rate = float(fm.contraction_rate(training, net, args=pool))
growing = fm.stability_bound(1.0, rate=rate, mu=1.0, n=SIZES, t=runs["t1"], step_size=runs["step_size"]).time_factor
print(twins, f"rate at the start {rate:.3f}: time factor {growing:.0f}, and {bound.time_factor:.1f} before", sep="\n\n")
assert rate < 0
assert growing > 100 * bound.time_factor
assert abs(twins.fit(mean=True).slope + 1) < 0.1
ax = fm.plot.stability(twins)
plt.show()
