"""How fast fusefs is, beside what it could be: every contender in one run.

    run.py          the command line; rounds, in which the contenders take turns
    works.py        what is measured, and the bars
    contenders.py   who is measured: how each is mounted, and surely unmounted
    processes.py    commands with timeouts
    results.py      medians, spreads, ratios, bars; the JSON document
    report.py       the table
    clients.c       what fio cannot do: names, LTP's dio29, and all that is not measured
    peers/          pyfuse3_null.py and c_null.c, the plain engines

A second question, does a larger image cost more, has a command of its own:

    scale.py            the command line; images, rounds, tables
    scale_images.py     makes the images, without a mount
    scale_client.py     times a few operations on a mount of one

What keeps the first honest:
    (B1) all contenders are mounted all the time, and each round measures them one after
         the other on one piece of work; who is first changes from round to round;
    (B2) what a contender put off (writeback, a commit) it does before the next is measured;
    (B3) nobody else's kernel cache answers: every open is direct_io, attributes are not
         kept, and stat asks for AT_STATX_FORCE_SYNC;
    (B4) the clients are in C, so that their own time does not make all contenders alike;
    (B5) files of the sequential and overwrite work are written beforehand, which spares
         fusefs allocation and conversion, and c-null, whose limit it is, page faults;
    (B6) dio29 and readdir check what they read: a wrong answer is a failure, not a figure.
"""
