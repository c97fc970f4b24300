"""The peers' programs: each runs in the environment of requirements/bench.txt and imports nothing of ours."""
