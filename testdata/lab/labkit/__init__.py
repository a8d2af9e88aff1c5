"""The parts of the fault lab: namespaces (net), traffic, the userspace wire, captures and the registry of cases."""
