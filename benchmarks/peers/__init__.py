"""The workloads of `benchmarks.workloads` in other simulators of federated learning, and side by side with fedprobe."""
