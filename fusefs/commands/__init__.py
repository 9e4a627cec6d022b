"""The command line: what each word after mount_tool.py does, one command a file.

    main.py               picks the command, and makes a line and a status of what it raises
    mount, umount, mkfs   images and mounts
    fsck                  check an image that is not mounted, and repair it
    set_, status, trace   a live mount, through its control directory alone
    demo                  both orders, side by side
    litmus                whether a file's outcome is possible, in every era of the kernel
    explore               every order of a few model tasks

    gallery.py            no command: ./dev gallery, which writes docs/gallery.md

    mount_options.py      what -o may say
    control_files.py      MOUNTPOINT/.fusefs from outside
    errors.py             what ends a command

A command has NAME, HELP, EPILOG, add_arguments() and run().  What it needs it imports when it
runs, so that each works where what only the others need is missing.
"""
