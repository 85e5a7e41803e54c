"""The client that most callers want."""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import attrs
import httpx
from httpx_sse import SSEError, connect_sse

from darkroom.errors import Incomplete, JobEnded, Refused, Unexpected
from darkroom.patience import Patient
from darkroom.rest import AuthenticatedClient
from darkroom.rest.models import (
    AcceptedBatch,
    Artifact,
    DryRun,
    File,
    Job,
    JobPage,
    Preview,
    Problem,
    Progress,
    Submission,
)

FINAL = ("succeeded", "failed", "canceled", "expired")
# Longest wait that the service takes, in seconds.
HOLD = 60
# Streams have a line at least every 15 seconds.
SILENCE = 45.0
# The service fetches the pictures of a batch before it answers, for up to five minutes.
BATCH_TIMEOUT = 330.0
ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "text/plain": ".txt"}


class Darkroom:
    """A Darkroom service and a key for it.

    `url` and `api_key` are taken from `DARKROOM_URL` and `DARKROOM_API_KEY` where they are left out. Requests that the
    service asks to repeat, or that break on the way, are made again for `patience` seconds; no job is submitted twice by
    that. An instance may be used by several threads.

    Every method raises `Refused` when the service refuses, `Unexpected` when something else answers in its place, and
    `httpx.TransportError` when it cannot be reached.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ):
        url = (url or os.environ.get("DARKROOM_URL", "http://127.0.0.1:8080")).rstrip("/")
        key = api_key or os.environ["DARKROOM_API_KEY"]
        self._patience = patience
        self._http = Patient(
            patience,
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(HOLD + 15.0, connect=10.0),
            transport=transport,
        )
        # Results may lie with another server, which the key is none of the business of.
        self._results = Patient(patience, timeout=60.0, follow_redirects=True, transport=transport)
        self.rest = AuthenticatedClient(base_url=url, token=key).set_httpx_client(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()
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
        return AcceptedBatch.from_dict(self._submit("/v1/batches", {"jobs": jobs}, idempotency_key, BATCH_TIMEOUT))

    def _submit(
        self, path: str, document: dict[str, Any], idempotency_key: str | None = None, timeout: float = HOLD + 15.0
    ) -> Any:
        # As it is: the generated documents leave out members that they do not know, and a slip would go unnoticed.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._call("POST", path, json=document, headers=headers, timeout=timeout)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        response = self._http.request(method, path, **options)
        refuse(response)
        return response.json()

    def upload(self, picture: str | Path | bytes) -> File:
        """Stores a picture that jobs name by its id, as `image_file`."""
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        return File.from_dict(self._call("POST", "/v1/files", files={"file": content}))

    def job(self, id: uuid.UUID | str) -> Job:
        """A job as it stands."""
        return Job.from_dict(self._call("GET", f"/v1/jobs/{id}"))

    def jobs(self, metadata: dict[str, str] | None = None, **filters: Any) -> Iterator[Job]:
        """Jobs, newest first, page by page: all, or those with these labels, and of this `state`, `pipeline` or `model`."""
        params = filters | {f"metadata[{key}]": value for key, value in (metadata or {}).items()} | {"limit": 100}
        while True:
            page = JobPage.from_dict(self._call("GET", "/v1/jobs", params=params))
            yield from page.jobs
            if not page.next_cursor:
                return
            params["cursor"] = page.next_cursor

    def cancel(self, job: Job) -> Job:
        """Cancels a job that is not final."""
        return Job.from_dict(self._call("POST", f"/v1/jobs/{job.id}/cancel"))

    def wait(self, job: Job, *, timeout: float | None = None) -> Job:
        """Waits until a job is final. Raises `TimeoutError` after `timeout` seconds."""
        until = time.monotonic() + timeout if timeout is not None else None
        while job.state not in FINAL:
            left = HOLD if until is None else min(HOLD, int(until - time.monotonic()))
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"job {job.id} is {job.state} after {timeout} seconds")
            headers = {"Prefer": f"wait={max(left, 1)}"}
            job = Job.from_dict(self._call("GET", f"/v1/jobs/{job.id}", headers=headers))
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
        that breaks is made again, for `patience` seconds.
        """
        path, params = f"/v1/jobs/{job.id}/events", {"previews": str(previews).lower()}
        known: dict[str, str] = {}
        until = time.monotonic() + self._patience
        while job.state not in FINAL:
            try:
                with connect_sse(self._http, "GET", path, params=params, headers=known, timeout=SILENCE) as source:
                    refuse(source.response)
                    for event in source.iter_sse():
                        until = time.monotonic() + self._patience
                        if event.event == "job":
                            job, known = Job.from_dict(event.json()), {"Last-Event-ID": event.id}
                            yield job
                        elif event.event == "progress":
                            yield Progress.from_dict(event.json())
                        elif event.event == "preview":
                            yield Preview.from_dict(event.json())
            except SSEError:
                # Something that is no stream will not become one.
                raise
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
            if job.state not in FINAL:
                time.sleep(1)

    def fetch(self, artifact: Artifact) -> bytes:
        """The file of a result, or the caption as text.

        Raises `Incomplete` when it is not what was announced, and `Unexpected` when it is not to be had.
        """
        response = self._results.get(artifact.url)
        # The URL opens the result to whoever sees it, and stays out of what is raised.
        if response.status_code != 200:
            raise Unexpected(f"result {artifact.id}", response.status_code)
        if hashlib.sha256(response.content).hexdigest() != artifact.sha256:
            raise Incomplete(f"result {artifact.id} is not the file that the service announced")
        return response.content

    def save(self, job: Job, folder: str | Path) -> list[Path]:
        """Saves the results of a job in a folder, which is made, and returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for artifact in job.artifacts:
            content = self.fetch(artifact)
            ending = ENDINGS.get(artifact.content_type.split(";")[0].strip(), "")
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


def refuse(response: httpx.Response) -> None:
    """Raises `Refused` when the service did, and `Unexpected` when somebody else answered."""
    if response.status_code < 300:
        return
    try:
        problem = Problem.from_dict(json.loads(response.read()))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unexpected(response.request.url.path, response.status_code) from None
    raise Refused(problem)
