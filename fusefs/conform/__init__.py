"""The model beside the kernel that runs here: the same program on both, and what differs.

    course.py        all comparisons, on a disk for each block size
      traces.py      the kernel's own trace of a program, judged by the model
        tracefs, kernel_events, kernel_acts     what the kernel tells, as acts
        model_acts.py                           what turns of the model are, as acts
        agreement.py                            has some schedule the kernel's acts?
        trace_reasons.py                        differences that are meant, and how far each goes
        playing.py, windows.py                  programs that are traced; readahead's
        sharpness.py                            which wrong orders would be noticed
      looks.py       what a program ends with, and leaves between its operations
        on_kernel.py, on_model.py               one task, looked at after each operation
        observed.py, comparing.py               what was seen, and the first difference
        explained.py                            differences that are meant, and how far each goes
        together.py                             several tasks: which outcomes has the model, too?
      programs.py, shrinking.py                 random programs from a seed, and less of one
      report.py      counts, and a table of them
      disk.py        a file system of the kernel's own, for as long as it is needed

Nothing but a command imports this folder.
"""
