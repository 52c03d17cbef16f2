"""Other simulators, each in a process of its own: `spikexla bench network --against`."""
