"""
Same potential, other metric
============================

A potential fixes where a gradient flow can rest: at its critical points, stable at the minima, whatever the metric. It
does not fix how the flow gets there. The metric decides which way is steepest and how fast, and with the paths it moves
the watershed, the line between the starts that end in one minimum and those that end in the other.

Here is a gene switch like :doc:`that of the plasmid <plot_toggle_landscape>`, with weaker promoters and two states of
nearly the same depth. Its landscape is descended in two metrics: the circuit's own, and the flat one, in which the flow
is plain gradient descent. They agree on every fixed point, on its kind and on every barrier, and yet more than a
quarter of all starts ends on the other side. Whoever reads the fate of a cell off a landscape has assumed a metric.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# One potential, a family of metrics
# ----------------------------------
#
# The diagonal of the metric is mixed from that of the circuit's, with a share of 1, and from ones, with a share of 0.
# The share is handed over as ``args``: what is an argument, and no constant of the flow, is compiled once for all its
# values.

circuit = fm.bio.toggle_switch(10.0, 5.0, n=3.0, m=1.0)


def mixed(y, share):
    return jax.tree.map(lambda own: share * own + (1 - share), circuit.metric.fn(y, None))


flow = fm.GradientFlow(circuit.potential, fm.DiagonalMetric(mixed), units=dict(circuit.units))
shares = {"the circuit's metric": jnp.asarray(1.0), "the flat metric": jnp.asarray(0.0)}
low, high = {"u": 0.05, "v": 0.05}, {"u": 20.0, "v": 10.0}

# %%
# They rest at the same states
# ----------------------------
#
# Three fixed points of the same kinds, found by two searches that know nothing of each other. Only the eigenvalues
# differ: in the flat metric both states are approached about ten times more slowly.

of_circuit, of_flat = (fm.equilibria(flow, (low, high), args=share) for share in shares.values())
print(of_circuit)
print(of_flat)
assert len(of_circuit) == len(of_flat) == 3
for here, there in zip(of_circuit, of_flat, strict=True):
    for name in ("u", "v"):
        np.testing.assert_allclose(here.state[name], there.state[name], rtol=1e-6)
    assert here.stability == there.stability
    if here.is_stable:
        assert here.eigenvalues[0].real < 9 * there.eigenvalues[0].real < 0

# %%
# They do not go the same way
# ---------------------------
#
# From the same starts, in the two metrics. The ellipses are unit balls of the metric as they look on these axes. The
# colour of a path is that of the state where it ends.

SIDE = 10
fractions = (np.arange(SIDE) + 0.5) / SIDE
u, v = (low[name] * (high[name] / low[name]) ** fractions for name in ("u", "v"))
starts = {"u": jnp.asarray(np.tile(u, SIDE)), "v": jnp.asarray(np.repeat(v, SIDE))}
times = np.append(0.0, np.geomspace(1e-4, 200.0, 100))

runs, figure = {}, plt.figure(figsize=(7.0, 2.9), layout="constrained")
for ax, (name, share) in zip(figure.subplots(1, 2, sharey=True), shares.items(), strict=True):
    runs[name] = fm.ensemble(flow, starts, ts=times, args=share)
    some = [runs[name][row * SIDE + column] for row in (1, 3, 5, 7) for column in (1, 4, 7, 9)]
    fm.plot.landscape(flow, (low, high), some, equilibria=of_circuit, scale="log", args=share, ax=ax)
    ax.set_title(name, fontsize="medium")
    ax.label_outer()

# %%
# The watershed moves
# -------------------
#
# Each cell of the map is a start. The pale ones end in the same state in both metrics, the dark ones change sides. The
# streamlines are those of the flat metric.

left_state = min(of_circuit.stable, key=lambda point: point.state["u"])
right_state = max(of_circuit.stable, key=lambda point: point.state["u"])


def ends_left(ensemble):
    """Whether each member ends in the left state; all others must have come to the right one."""
    ratios = np.array([ensemble.ends["v"] / state.state["v"] for state in (right_state, left_state)])
    assert np.abs(np.log(ratios)).min(axis=0).max() < 0.01
    return np.abs(np.log(ratios)).argmin(axis=0).astype(bool)


own, flat = (ends_left(ensemble) for ensemble in runs.values())
changed = own != flat
print(f"{changed.sum()} of {changed.size} starts end on the other side")
assert changed.mean() > 0.25
assert np.any(own & ~flat)
assert np.any(flat & ~own)

# Both descend one potential: no path of either ever rises.
for ensemble in runs.values():
    assert np.diff(ensemble.potential, axis=1).max() < 1e-9

ax = fm.plot.phase_portrait(
    flow, (low, high), (), of_circuit, nullclines=False, scale="log", args=shares["the flat metric"]
)
edges = [low[name] * (high[name] / low[name]) ** np.linspace(0, 1, SIDE + 1) for name in ("u", "v")]
colours = ListedColormap(["#CFE2F0", "#0072B2", "#D55E00", "#FBE0CC"])
ax.pcolormesh(*edges, (2 * own + flat).reshape(SIDE, SIDE), cmap=colours, vmin=-0.5, vmax=3.5, zorder=0)
ax.set_title("the flat metric", fontsize="medium")
plt.show()
