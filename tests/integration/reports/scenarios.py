"""The reports that are replayed. To add one, add a Scenario to one of these modules, and its link to docs/reports.md.

What the reports say was read in their threads; a release that a thread does not name was chosen as `said` tells.
"""

from __future__ import annotations

from tests.integration.reports import generation, membership

SCENARIOS = (*generation.REPORTS, *membership.REPORTS)
