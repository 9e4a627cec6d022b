"""The model beside the kernel that runs here: the same program on both, and what differs.

    disk.py        a file system of the kernel's own, on a loop device, for as long as it is needed

Nothing but a command imports this folder.
"""
