"""
At the edge of stability
========================

Full-batch gradient descent with a constant step size :math:`h` does not follow its flow. As the network learns, the
largest eigenvalue of the Hessian rises until it reaches :math:`2/h`, beyond which the iteration is unstable. It does
not diverge: the iterates oscillate along the critical eigenvector, and the oscillation itself pushes them back to
flatter places. On average they follow the *central flow*, which is the gradient flow held at the edge by the covariance
of that oscillation. The gradient flow goes elsewhere.
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
# A network on ten digits
# -----------------------
#
# 64-24-10 on a hundred images, squared error, all data in every step.

digits = load_digits()
images, targets = digits.data[:100] / 16, np.eye(10)[digits.target[:100]]

k1, k2 = jax.random.split(jax.random.key(0))
net = fm.Linear(64, 24, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(24, 10, key=k2)
problem = fm.Supervised(net, fm.MeanSquaredError(), images, targets)
flow = fm.GradientFlow(problem)

# %%
# Three paths from one start
# --------------------------
#
# One call runs the optimizer, its gradient flow and its central flow. Up to five directions may oscillate at once, and
# four do at the end. The dashed line is the prediction of the mean loss: the loss of the central flow and what
# the oscillation around it adds. When gradient descent first comes to the edge it goes on as before, because its
# oscillation has to grow from nothing; from there on the central flow is the nearer one by far.

run = fm.edge_of_stability(flow, net, 0.2, 450, directions=5)
figure, axes = plt.subplots(3, figsize=(5.4, 6.5), layout="constrained", sharex=True)
fm.plot.edge_of_stability(run, axes=axes)
plt.show()

late = run.isel(step=slice(250, 400))
print({name: run[name].values[-1].item() for name in ("distance_flow", "distance_central", "critical")})
np.testing.assert_allclose(late["mean_loss"].mean(), late["mean_predicted_loss"].mean(), rtol=0.05)
np.testing.assert_allclose(late["sharpness_central"], run.attrs["threshold"], rtol=1e-2)
assert run["critical"].max() < 5
assert run["distance_flow"][-1] > 5 * run["distance_central"][-1]
