"""The command line: `spikexla simulate | train | info | bench | validate`."""
