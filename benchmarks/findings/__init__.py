"""The bug zoos: how often a rehearsed bug is named, and how often one is named that is not there."""
