"""
A network's rate during training, and the layer that limits it
==============================================================

While a network trains, three different things may contract. Its *parameters* do if neighbouring runs approach each
other: that is the contraction rate of the flow. A *layer* does if runs that differ in this layer alone approach each
other there, and gains say how much it is pushed by the others. Its *outputs* do if they approach their targets.

A small tanh network shows that these are not the same. Its parameters do not contract in their own metric while it
learns, although the loss falls all the time. Each layer alone is closer to it than the whole, which the coupling of
the layers keeps from it. And its outputs contract from the first moment on.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A network, and its flow with and without weight decay
# -----------------------------------------------------
#
# A network 2-6-1 with 25 parameters on 8 samples, in its layerwise metric. A weight decay of a millionth is as good as
# none here, and one of a hundredth leaves a residual.

MASS, NONE, SOME = 0.1, 1e-6, 1e-2
keys = jax.random.split(jax.random.key(0), 3)
net = fm.Linear(2, 6, key=keys[0]) >> fm.Pointwise(jnp.tanh) >> fm.Linear(6, 1, key=keys[1])
inputs = jax.random.normal(keys[2], (8, 2))
targets = jnp.sin(2 * inputs[:, :1]) * inputs[:, 1:]
times = np.array([0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128.0])


def trained(decay):
    """The flow with a weight decay, and its run."""
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets, regularizer=fm.WeightDecay(decay))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=MASS))
    return flow, fm.simulate(flow, net, ts=times, rtol=1e-8, atol=1e-10)


runs = {decay: trained(decay) for decay in (NONE, SOME)}
for decay, (_, run) in runs.items():
    print(f"weight decay {decay:g}: loss {run.potential[0]:.4f} to {run.potential[-1]:.5f}")
    assert np.all(np.diff(run.potential) < 0)

# %%
# The parameters, and the layers
# ------------------------------
#
# ``fm.module_report`` takes the flow apart: the rate of each layer, with its metric moved by the others too, the gain
# from each layer into each other one, and the rate of the whole beside the bound that follows from rates and gains.

reports = {decay: fm.module_report(*flow_and_run) for decay, flow_and_run in runs.items()}
print(reports[SOME])

# %%
# Without weight decay the rate is negative all along, and comes up to zero: in the end most directions of the
# parameters change no output, and nothing pulls neighbours together there. Weight decay pulls on these too, with a rate
# of decay over mass for each layer alone, and the whole contracts once the loss is down. So a positive rate comes from
# the regularizer, and the loss alone never gives it to a network with more parameters than residuals.
#
# The bound knows the gains by their size only and must take the couplings for the worst of this size. At a minimum they
# are still near one, because both layers remove the same residual, and they do no harm: the bound stays far below the
# rate. It names what a proof by modules would have to make smaller, and proves nothing here.

without, with_decay = reports[NONE], reports[SOME]
assert np.all(without.rate < 0)
assert without.rate[-1] > -0.01
assert with_decay.rate[0] < -1
assert with_decay.rate[-1] > 0
np.testing.assert_allclose(with_decay.rates[-1], SOME / MASS, rtol=0.1)
for report in reports.values():
    assert np.all(report.rates >= report.rate[:, None])
    assert np.all(report.bound <= report.weighted_rate)
    np.testing.assert_allclose(report.shares.sum(axis=(1, 2)), report.bound, rtol=1e-8)
assert with_decay.bound[-1] < -0.5
assert with_decay.headroom[-1] < 0.2  # gains of a fifth of this size would be needed for a proof
print("what limits:", *zip(with_decay.t.tolist(), with_decay.limiting_module, strict=True))
assert with_decay.limiting_module[0] == "layers.2"
assert set(with_decay.limiting_module[1:]) == {"layers.0"}

# %%
# The outputs
# -----------
#
# The residual :math:`e` of the samples obeys :math:`\dot e = -K M^{-1} K^\top e`, and ``fm.output_rate`` gives the
# smallest and the largest eigenvalue of that matrix. It is positive from the start, with 25 parameters for 8 residuals.
# Between the two the residual decays, as it does here until the loss is so small that the weight decay of a millionth
# counts. The smallest one is what the slowest combination of samples would do if the matrix stayed as it is: it does
# not, and grows some hundred times on the way.

flow, run = runs[NONE]
outputs = fm.output_rate(flow, run)
print(outputs)
assert outputs.rows == 8 < outputs.parameters == 25
assert np.all(outputs.rate > 0)
assert outputs.rate[-1] > 100 * outputs.rate[0]
learning = times[1:] <= 16
decay_of_residual = (-np.diff(np.log(run.potential)) / 2 / np.diff(times))[learning]
assert np.all(decay_of_residual > np.maximum(outputs.rate[1:], outputs.rate[:-1])[learning])
assert np.all(decay_of_residual < np.minimum(outputs.fastest[1:], outputs.fastest[:-1])[learning])

# %%
# All three along the run
# -----------------------

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.0), layout="constrained")
place = np.arange(len(times))
left.axhline(0, color="0.3", linewidth=0.8)
left.plot(place, without.rate, "o-", color="#0072B2", markersize=3, label="no weight decay")
left.plot(place, with_decay.rate, "s-", color="#D55E00", markersize=3, label="weight decay 0.01")
left.set(title="the parameters", ylabel="rate (1/time)")
middle.axhline(0, color="0.3", linewidth=0.8)
for index, (name, colour) in enumerate(zip(("first layer", "last layer"), ("#009E73", "#CC79A7"), strict=True)):
    middle.plot(place, with_decay.rates[:, index], "o-", color=colour, markersize=3, label=name)
middle.plot(place, with_decay.bound, "--", color="0.4", label="bound of rates and gains")
middle.set(title="the layers, weight decay 0.01")
right.fill_between(place, outputs.rate, outputs.fastest, color="#56B4E9", alpha=0.4, label="smallest to largest")
right.plot(place[:-1][learning] + 0.5, decay_of_residual, "k.", label="decay of the residual")
right.set(title="the outputs", yscale="log")
for axes in (left, middle, right):
    axes.set_xticks(place[::2], [f"{time:g}" for time in times[::2]])
    axes.set_xlabel("flow time")
    axes.legend(frameon=False, fontsize=7)
plt.show()
