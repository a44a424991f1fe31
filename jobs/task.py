"""What a task process starts with: find the job's class and let mrjob run one mapper or reducer of it.

mrjob copies this file into the task's working directory and runs it there, far from the other modules of `jobs/`:
run as a script, a job's own file would put them all on sys.path, where they would shadow the standard library.
"""

import sys

from jobs.base import run_task

if __name__ == "__main__":
    run_task(sys.argv[1:])
