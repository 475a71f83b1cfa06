"""Load: the comparison with peers, the frontend profile, the stream soak and the locust harness."""
