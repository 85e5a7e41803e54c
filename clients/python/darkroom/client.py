"""The client that most callers want."""

import hashlib
import mimetypes
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import httpx
from httpx_sse import connect_sse

from darkroom.errors import Incomplete, JobEnded, Refused
from darkroom.patience import Patient
from darkroom.rest import AuthenticatedClient
from darkroom.rest.api.files import upload_file
from darkroom.rest.api.jobs import cancel_job, show_job
from darkroom.rest.models import (
    AcceptedBatch,
    Artifact,
    DryRun,
    File,
    FileUpload,
    Job,
    JobPage,
    Preview,
    Problem,
    Progress,
    Submission,
)
from darkroom.rest.types import File as Part
from darkroom.rest.types import Response

FINAL = ("succeeded", "failed", "canceled", "expired")
# Longest wait that the service takes, in seconds.
HOLD = 60
# Streams have a line at least every 15 seconds.
SILENCE = 45.0

Answer = TypeVar("Answer")


class Darkroom:
    """A Darkroom service and a key for it.

    `url` and `api_key` are taken from `DARKROOM_URL` and `DARKROOM_API_KEY` where they are left out. Requests that the
    service asks to repeat, or that break on the way, are made again for `patience` seconds; no job is submitted twice by
    that. An instance may be used by several threads.

    Every method raises `Refused` when the service refuses, and `httpx.TransportError` when it cannot be reached.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ):
        url = url or os.environ.get("DARKROOM_URL", "http://127.0.0.1:8080")
        patient = Patient(transport or httpx.HTTPTransport(), patience)
        self.rest = AuthenticatedClient(
            base_url=url.rstrip("/"),
            token=api_key or os.environ["DARKROOM_API_KEY"],
            timeout=httpx.Timeout(HOLD + 15.0, connect=10.0),
            raise_on_unexpected_status=True,
            httpx_args={"transport": patient},
        )
        # Results may lie with another server, which the key is none of the business of.
        self._results = httpx.Client(transport=patient, timeout=60.0, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self.rest.get_httpx_client().close()
        self._results.close()

    def generate(self, prompt: str, *, timeout: float | None = None, **parameters: Any) -> Job:
        """Makes pictures, and returns the job when it has succeeded.

        `parameters` are those of `Submission` (`model`, `priority`, `metadata`, …) and of `TextToImageParameters`
        (`seed`, `steps`, `width`, `images`, …).

        Raises `JobEnded` when the job ends otherwise, and `TimeoutError` when it is not final after `timeout` seconds:
        it goes on then.
        """
        job = self.submit(document("text-to-image", {"prompt": prompt}, parameters))
        return self.succeeded(job, timeout=timeout)

    def caption(self, picture: str | Path | bytes, *, timeout: float | None = None, **parameters: Any) -> str:
        """Describes a picture: the path of a file, its bytes, or a URL that the service fetches.

        `parameters` are those of `Submission`, and `prompt`, the words that the caption starts with. Raises as
        `generate` does.
        """
        if isinstance(picture, str) and picture.startswith(("http://", "https://", "data:")):
            of: dict[str, Any] = {"image_url": picture}
        else:
            of = {"image_file": str(self.upload(picture).id)}
        job = self.succeeded(self.submit(document("image-to-text", of, parameters)), timeout=timeout)
        return str(job.artifacts[0].text)

    def submit(self, submission: Submission | dict[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Submits a job, and returns it as it stands. With the same `idempotency_key` again, it is the first one's."""
        return Job.from_dict(self._submit("/v1/jobs", written(submission), idempotency_key))

    def try_out(self, submission: Submission | dict[str, Any]) -> DryRun:
        """What a submission would cost, and where it would stand in the queue. Nothing is submitted."""
        return DryRun.from_dict(self._submit("/v1/jobs?dry_run=true", written(submission)))

    def submit_batch(
        self, submissions: Iterable[Submission | dict[str, Any]], *, idempotency_key: str | None = None
    ) -> AcceptedBatch:
        """Submits up to 1,000 jobs at once: all of them, or none."""
        jobs = [written(submission) for submission in submissions]
        return AcceptedBatch.from_dict(self._submit("/v1/batches", {"jobs": jobs}, idempotency_key))

    def _submit(self, path: str, document: dict[str, Any], idempotency_key: str | None = None) -> Any:
        # As it is: the generated documents leave out members that they do not know, and a slip would go unnoticed.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        response = self.rest.get_httpx_client().post(path, json=document, headers=headers)
        refuse(response)
        return response.json()

    def upload(self, picture: str | Path | bytes) -> File:
        """Stores a picture that jobs name by its id, as `image_file`."""
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        part = Part(payload=content, file_name="picture")  # type: ignore[arg-type]
        return kept(upload_file.sync_detailed(client=self.rest, body=FileUpload(file=part)), File)

    def job(self, id: uuid.UUID | str) -> Job:
        """A job as it stands."""
        return kept(show_job.sync_detailed(uuid.UUID(str(id)), client=self.rest), Job)

    def jobs(self, metadata: dict[str, str] | None = None, **filters: Any) -> Iterator[Job]:
        """Jobs, newest first, page by page: all, or those with these labels, and of this `state`, `pipeline` or `model`."""
        # The generated call writes labels as parameters of their own.
        params = filters | {f"metadata[{key}]": value for key, value in (metadata or {}).items()} | {"limit": 100}
        while True:
            response = self.rest.get_httpx_client().get("/v1/jobs", params=params)
            refuse(response)
            page = JobPage.from_dict(response.json())
            yield from page.jobs
            if not page.next_cursor:
                return
            params["cursor"] = page.next_cursor

    def cancel(self, job: Job) -> Job:
        """Cancels a job that is not final."""
        return kept(cancel_job.sync_detailed(job.id, client=self.rest), Job)

    def wait(self, job: Job, *, timeout: float | None = None) -> Job:
        """Waits until a job is final. Raises `TimeoutError` after `timeout` seconds."""
        until = time.monotonic() + timeout if timeout is not None else None
        while job.state not in FINAL:
            left = HOLD if until is None else min(HOLD, int(until - time.monotonic()))
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"job {job.id} is {job.state} after {timeout} seconds")
            answer = show_job.sync_detailed(job.id, client=self.rest, prefer=f"wait={max(left, 1)}")
            job = kept(answer, Job)
        return job

    def succeeded(self, job: Job, *, timeout: float | None = None) -> Job:
        """Waits until a job is final. Raises `JobEnded` unless it has succeeded, `TimeoutError` after `timeout` seconds."""
        job = self.wait(job, timeout=timeout)
        if job.state != "succeeded":
            raise JobEnded(job)
        return job

    def follow(self, job: Job, *, previews: bool = False) -> Iterator[Job | Progress | Preview]:
        """A job whenever it has changed, and how far it is in between, until it is final.

        With `previews` there are small pictures of what is in work as well: `content` is the file in base64. A connection
        that breaks is made again.
        """
        params = {"previews": str(previews).lower()}
        known: dict[str, str] = {}
        while job.state not in FINAL:
            try:
                http = self.rest.get_httpx_client()
                path = f"/v1/jobs/{job.id}/events"
                with connect_sse(http, "GET", path, params=params, headers=known, timeout=SILENCE) as source:
                    refuse(source.response)
                    for event in source.iter_sse():
                        if event.event == "job":
                            job, known = Job.from_dict(event.json()), {"Last-Event-ID": event.id}
                            yield job
                        elif event.event == "progress":
                            yield Progress.from_dict(event.json())
                        elif event.event == "preview":
                            yield Preview.from_dict(event.json())
            except httpx.TransportError:
                time.sleep(1)

    def fetch(self, artifact: Artifact) -> bytes:
        """The file of a result, or the caption as text. Raises `Incomplete` when it is not what was announced."""
        response = self._results.get(artifact.url)
        response.raise_for_status()
        if hashlib.sha256(response.content).hexdigest() != artifact.sha256:
            raise Incomplete(f"{artifact.url} is not the file that the service announced")
        return response.content

    def save(self, job: Job, folder: str | Path) -> list[Path]:
        """Saves the results of a job in a folder, which is made, and returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for artifact in job.artifacts:
            content = self.fetch(artifact)
            ending = mimetypes.guess_extension(artifact.content_type) or ""
            path = folder / f"{job.id}-{artifact.index}{ending}"
            path.write_bytes(content)
            paths.append(path)
        return paths


def written(submission: Submission | dict[str, Any]) -> dict[str, Any]:
    """The document of a submission."""
    return submission.to_dict() if isinstance(submission, Submission) else submission


def document(pipeline: str, of: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The submission for a pipeline: what is not a member of it is a parameter of the pipeline."""
    members = attrs.fields_dict(Submission)
    outer = {name: value for name, value in parameters.items() if name in members}
    inner = {name: value for name, value in parameters.items() if name not in members}
    return {"pipeline": pipeline, "input": of | inner, **outer}


def kept(answer: Response[Any], kind: type[Answer]) -> Answer:
    """What was asked for. Raises `Refused`."""
    if isinstance(answer.parsed, Problem):
        raise Refused(answer.parsed)
    if not isinstance(answer.parsed, kind):
        raise TypeError(f"the service answered {answer.status_code} with something unexpected")
    return answer.parsed


def refuse(response: httpx.Response) -> None:
    """Raises `Refused` when the service did."""
    if response.status_code >= 400:
        response.read()
        raise Refused(Problem.from_dict(response.json()))
