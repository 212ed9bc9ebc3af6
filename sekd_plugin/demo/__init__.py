"""``sekd demo``: from the sample corpus to a report, in stages that survive an interruption."""
