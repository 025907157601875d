"""Where the gap between a discrete method and its flow comes from: modified equations, the modified loss, a report."""

from .gap_report import GapReport as GapReport
from .gap_report import gap_report as gap_report
from .modified_flow import modified_flow as modified_flow
from .modified_potential import modified_potential as modified_potential
