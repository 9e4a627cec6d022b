"""What drives the model: written once, for the live mount, the search and the tests.

    task       a coroutine and the step that it stands before; perform: what a granted step does
    events     what happens to a request, as events; to a line and back
    gates      who is held before which step, and what lets him go: gate, held, waits

A step is asked for, and later granted; what it does is done when it is granted.  Who is granted
when, whoever drives decides: nothing here does.
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "engine")
