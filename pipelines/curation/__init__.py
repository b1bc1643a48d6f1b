"""What is done with a finished data set: inspect, relabel, export, forget, check identities."""
