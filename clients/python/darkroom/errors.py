"""What goes wrong."""

from darkroom.rest.models import Job, Problem


class DarkroomError(Exception):
    """Any error of this package."""


class Refused(DarkroomError):
    """The service refused a request. `problem` says why: `code` is stable, `errors` names every field."""

    def __init__(self, problem: Problem):
        # Of one field the detail says it all.
        fields = problem.errors if len(problem.errors) > 1 else []
        told = [f"{field.pointer or field.parameter}: {field.detail}" for field in fields]
        super().__init__("; ".join([f"{problem.code}: {problem.detail}", *told]))
        self.problem = problem


class Unexpected(DarkroomError):
    """An answer that is none of the service's, such as one of a proxy in front of it. `status` is its HTTP status."""

    def __init__(self, what: str, status: int):
        super().__init__(f"{what}: unexpected answer with status {status}")
        self.status = status


class JobEnded(DarkroomError):
    """A job failed, was canceled or expired. `job` is as it ended."""

    def __init__(self, job: Job):
        reason = f": {job.error.code}: {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} is {job.state}{reason}")
        self.job = job


class Incomplete(DarkroomError):
    """What arrived is not the file that the service announced."""
