"""
An RNN of RNNs
==============

Put recurrent networks together, and the whole need not behave as its parts do. Each module here forgets its initial
state at a rate of at least 0.2: two runs of it approach each other, whatever drives it. Couple three of them at random,
and two runs of the whole stay apart.

There is a kind of coupling that cannot do this, however strong it is. If :math:`M_i` is the metric in which module
:math:`i` contracts, and :math:`M_b = \\mathrm{blkdiag}(M_i)`, then for *any* matrix :math:`B` the coupling
:math:`L = B - M_b^{-1} B^\\top M_b` makes :math:`M_b L` skew. What it adds to the speed of one module it takes from the
others, so that distances in :math:`M_b` do not feel it, and the whole contracts as fast as its slowest module: an RNN
of RNNs (Kozachkov, Ennis and Slotine, 2022). On this page the strength of :math:`B` goes up to where neighbouring
runs of the random network part, and the rate of the skew one stays where it was.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# Three modules
# -------------
#
# Module :math:`i` is :math:`x' = -x - x^3 + W_i \tanh x + \sin t + u` with six to eight units. Its weights are 0.8
# times a rotation, in units that are scaled by :math:`\theta_i`. So it contracts at least at the rate 0.2 in the metric
# :math:`\mathrm{diag}(\theta_i^2)`, at every state; in the Euclidean one it need not. Its input port takes what is
# wired to it, and its output is its state.

SIZES = (6, 7, 8)
RATE = 0.2
rng = np.random.default_rng(1)


def module(size):
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    scale = rng.uniform(0.5, 2.0, size)
    weights = jnp.asarray((1 - RATE) * turn / scale[:, None] * scale[None])
    return fm.Dynamical(
        lambda t, x, u, args: -x - x**3 + weights @ jnp.tanh(x) + jnp.sin(t) + u,
        fm.ConstantMetric(np.diag(scale**2)),
        input=jnp.zeros(size),
        state=jnp.zeros(size),
    )


modules = [module(size) for size in SIZES]
metrics = [member.metric.matrix for member in modules]
edges = np.cumsum([0, *SIZES])
parts = [slice(start, end) for start, end in pairwise(edges)]
for member, size in zip(modules, SIZES, strict=True):
    assert fm.contraction_rate(member, jnp.asarray(rng.normal(size=size))) >= RATE

# %%
# Two couplings of one size
# -------------------------
#
# Both have blocks between all modules and none inside of one. The random one has the root mean square of the skew one.

between = rng.normal(size=(edges[-1], edges[-1])) / np.sqrt(edges[-1])
for part in parts:
    between[part, part] = 0.0
skew = fm.compose.skew_coupling(between, metrics)
random = rng.permutation(between.ravel()).reshape(between.shape)
for part in parts:
    random[part, part] = 0.0
random *= np.linalg.norm(skew) / np.linalg.norm(random)


def wired(coupling):
    table = [
        [None if i == j else jnp.asarray(coupling[to, of]) for j, of in enumerate(parts)] for i, to in enumerate(parts)
    ]
    return fm.network(modules, table)


# %%
# What the calculus says before anything runs: the skew coupling keeps the rate, 0.2, at any strength. Of the random one
# it knows sizes only. Modules of these rates would bear a small part of it.

whole = fm.compose.rnn_of_rnns([RATE] * len(SIZES), 10 * skew, metrics)
print(whole)
np.testing.assert_allclose(whole.rate, RATE, atol=1e-9)

roots = [np.sqrt(np.diag(metric)) for metric in metrics]
gains = np.array(
    [
        [np.linalg.norm(roots[i][:, None] * random[to, of] / roots[j], 2) for j, of in enumerate(parts)]
        for i, to in enumerate(parts)
    ]
)
guess = fm.compose.network([RATE] * len(SIZES), gains)
print(guess)
assert guess.rate < 0
assert guess.headroom < 0.1

# %%
# Two runs of each
# ----------------
#
# Blue and red are two runs. Under the skew coupling their distance in :math:`M_b` stays below :math:`e^{-0.2\,t}`, the
# dashed line, and both come to do the same, which is to follow their input. Under the random one they do not. The
# modules are the same, and so are the starts.

times = np.linspace(0.0, 15.0, 151)
starts = tuple(jnp.asarray(rng.normal(size=(2, size))) for size in SIZES)
systems = {"skew": wired(2 * skew), "random": wired(2 * random)}


def run_twice(system):
    return fm.ensemble(system, starts, ts=times, rtol=1e-6, atol=1e-8)


def apart(system, runs):
    gap = jax.tree.map(lambda leaf: jnp.asarray(leaf[1] - leaf[0]), runs.ys)
    like = jax.tree.map(lambda leaf: leaf[0], gap)
    return np.asarray(jax.vmap(lambda v: system.metric.norm(like, v))(gap))


runs = {name: run_twice(system) for name, system in systems.items()}
distances = {name: apart(systems[name], runs[name]) for name in runs}
envelope = np.exp(-RATE * times)
assert np.all(distances["skew"] <= distances["skew"][0] * envelope * (1 + 1e-4))
assert distances["random"][-50:].min() > 0.2 * distances["random"][0]

figure, axes = plt.subplots(2, 2, figsize=(7.0, 4.4), layout="constrained", sharex="col")
for (left, right), (name, run) in zip(axes, runs.items(), strict=True):
    for member, colour in ((0, "#0072B2"), (1, "#D55E00")):
        left.plot(times, run.ys[1][member][:, :2], color=colour, linewidth=1.1)
    left.set_ylabel(f"{name} coupling\ntwo units of a module", fontsize="medium")
    right.semilogy(times, distances[name] / distances[name][0], color="#0072B2", linewidth=1.6)
    right.semilogy(times, envelope, "k--", linewidth=1.1, label=r"$e^{-0.2\,t}$")
    right.set(ylabel="distance of the runs", ylim=(1e-5, 10))
axes[0, 1].legend(frameon=False)
for ax in axes[1]:
    ax.set_xlabel("time")

# %%
# The strength of the coupling
# ----------------------------
#
# The smallest rate along a run, in :math:`M_b`, for couplings from none to five times the one above. The random network
# loses its contraction early. The rate of the skew one stays above 0.2 all the way: the metric is blind to it.

strengths = np.array([0.0, 0.1, 0.3, 1.0, 3.0, 10.0])
lowest = {
    name: np.array(
        [
            fm.contraction_rate(system, run_twice(system)[0]).min()
            for system in (wired(strength * coupling) for strength in strengths)
        ]
    )
    for name, coupling in (("skew", skew), ("random", random))
}
print(np.round(lowest["skew"], 4), np.round(lowest["random"], 4), sep="\n")
assert np.all(lowest["skew"] >= RATE - 1e-9)
assert np.all(lowest["random"][strengths >= 1] < 0)

figure, ax = plt.subplots(figsize=(4.6, 2.8), layout="constrained")
ax.axhline(0.0, color="0.3", linewidth=0.8)
ax.plot(strengths, lowest["skew"], "o-", color="#0072B2", markersize=4, linewidth=1.4, label="skew coupling")
ax.plot(strengths, lowest["random"], "s-", color="#D55E00", markersize=4, linewidth=1.4, label="random coupling")
ax.axhline(RATE, color="k", linestyle="--", linewidth=1.1, label="slowest module")
ax.set_xscale("symlog", linthresh=0.1)
ax.set_xlim(-0.02, 14)
ax.set_yscale("symlog", linthresh=0.5)
ax.set(xlabel="strength of the coupling", ylabel="smallest rate of the run (1/time)")
ax.legend(frameon=False, loc="lower left")

# %%
# And again
# ---------
#
# A system of modules is a module, and its composition a part of the next one. Two of these networks, coupled skew in
# their block metrics, keep the rate: an RNN of RNNs of RNNs.

pair = (systems["skew"], systems["skew"])
start = jax.tree.map(lambda leaf: leaf[0], starts)
assembled = [np.asarray(member.metric(start).as_matrix()) for member in pair]
strong = np.zeros((2 * edges[-1], 2 * edges[-1]))
strong[edges[-1] :, : edges[-1]] = rng.normal(size=(edges[-1], edges[-1]))
joint = fm.compose.skew_coupling(strong, assembled)
port = [
    np.vsplit(joint[: edges[-1], edges[-1] :], edges[1:-1]),
    np.vsplit(joint[edges[-1] :, : edges[-1]], edges[1:-1]),
]


def enters(blocks):
    blocks = tuple(jnp.asarray(block) for block in blocks)
    return lambda output: tuple(block @ jnp.concatenate(output) for block in blocks)


double = fm.feedback(*pair, enters(port[0]), enters(port[1]))
rate = fm.contraction_rate(double, (start, start))
print(f"{sum(SIZES) * 2} units in {2 * len(SIZES)} modules: rate {rate:.4f}")
assert rate >= fm.compose.rnn_of_rnns([RATE, RATE], joint, assembled).rate - 1e-9
plt.show()
