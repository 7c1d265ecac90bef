"""Runners that Beam does not take, for the tests of all that has one."""

REFUSED = [
    (["FlonkRunner"], "runner: .*FlonkRunner.*; name one of Beam's"),
    (["DirectRunner", "--direct_num_workers=many"], "runner: .*; name one of Beam's"),
    (
        ["PortableRunner", "--job_endpoint=localhost:1", "--job_server_timeout=1"],
        "runner: PortableRunner: no job server answers",
    ),
]
"""Each as its name and options, with what is said of it."""
