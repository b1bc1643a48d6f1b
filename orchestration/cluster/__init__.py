"""Ray clusters: nodes, the doctor, submitted jobs."""
