"""Figures. Needs matplotlib: `pip install 'spikexla[all]'`."""
