"""The benchmarks behind `spikexla bench`: native kernels beside pure JAX, same inputs, same run."""
