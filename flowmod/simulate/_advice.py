"""What to try after each kind of ending."""

from .._results import RESULTS

_ADVICE = {
    RESULTS.max_steps_reached: "raise `max_steps`, loosen `rtol`, or stop earlier with `until=`.",
    RESULTS.dt_min_reached: "look at the state there: the field jumps or blows up; smooth it, or stop before with "
    "`until=`.",
    RESULTS.stiff: 'solver="stiff", an implicit method whose step is not bounded by the fastest rate.',
    RESULTS.nonfinite_potential: "keep the state where the potential is defined: other coordinates (a logarithm for a "
    "positive state), or `until=` to stop before the edge.",
    RESULTS.nonfinite_field: "look for a division by zero, a logarithm or a root of a negative number in the field.",
    RESULTS.nonfinite_metric: "look for a division by zero in the metric, or bound it away from its singularity.",
    RESULTS.asymmetric_metric: "return (M + M^T)/2 if that is what you mean; `fm.check_metric(metric, y)` shows more.",
    RESULTS.indefinite_metric: "add a mass (a positive multiple of the identity) to the metric; "
    "`fm.check_metric(metric, y)` shows its eigenvalues.",
    RESULTS.inner_solve_failed: "a larger `mass`, the other `solver=` of the metric, or double precision; "
    "`fm.layer_report(flow, y)` shows each layer.",
    RESULTS.solver_failed: "a smaller first step `dt0`, a looser `rtol`, or an explicit solver (`solver=None`).",
}


def advice(result: RESULTS) -> str:
    """One line on what to change; empty where all is well."""
    return _ADVICE.get(result, "")
