"""The same jobs through Celery: its application, and what submits and waits.

`celery -A celery_side worker` runs the tasks; the commands below measure, and print one JSON document.
"""

import datetime
import hashlib
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.config
import psycopg
from celery import Celery
from celery.signals import worker_process_init
from kombu import Queue

DATABASE = os.environ["BENCH_DATABASE_URL"]
BUCKET = os.environ["BENCH_S3_BUCKET"]
QUEUE = os.environ["BENCH_QUEUE"]
PICTURE = open(os.environ["BENCH_PICTURE"], "rb").read()

# Threads that submit, each on a connection of its own: more are no faster, since one of them runs at a time.
SUBMITTERS = 4
# Pause between two looks at the results, in seconds. Celery's own `get` looks twice a second.
LOOK = 0.003
# How long all tasks together may take, in seconds.
PATIENCE = 300

app = Celery(
    "celery_side",
    broker=os.environ["BENCH_AMQP_URL"],
    backend="db+" + DATABASE.replace("postgres://", "postgresql+psycopg://", 1),
)
app.conf.update(
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=QUEUE,
    task_default_routing_key=QUEUE,
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=SUBMITTERS,
    broker_connection_retry_on_startup=True,
    # After its result is stored, as a ticket is acked after the commit.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_detect_quorum_queues=True,
    # Tasks that lie ready for each process: Celery's default.
    worker_prefetch_multiplier=4,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)

s3 = None


@worker_process_init.connect
def connect(**_):
    global s3
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["BENCH_S3_ENDPOINT"],
        region_name=os.environ["BENCH_S3_REGION"],
        aws_access_key_id=os.environ["BENCH_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["BENCH_S3_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@app.task(bind=True, name="picture")
def picture(self, document):
    key = f"celery/{self.request.id}.png"
    digest = hashlib.sha256(PICTURE).hexdigest()
    s3.put_object(Bucket=BUCKET, Key=key, Body=PICTURE, ContentType="image/png", Metadata={"sha256": digest})
    return {"key": key, "size_bytes": len(PICTURE), "sha256": digest}


DOCUMENT = {"prompt": "nothing", "width": 64, "height": 64, "steps": 1, "seed": 7}


def done(connection, ids):
    """Those of the tasks whose result is there."""
    rows = connection.execute(
        "select task_id, status from celery_taskmeta where task_id = any(%s)", (list(ids),)
    ).fetchall()
    failed = [row for row in rows if row[1] not in ("SUCCESS", "PENDING")]
    if failed:
        sys.exit(f"tasks failed: {failed[:3]}")
    return [row[0] for row in rows if row[1] == "SUCCESS"]


def submit(_=None):
    return picture.apply_async((DOCUMENT,)).id


def wait_for(connection, ids):
    left = set(ids)
    deadline = time.monotonic() + PATIENCE
    while left:
        left.difference_update(done(connection, left))
        if time.monotonic() > deadline:
            sys.exit(f"{len(left)} tasks did not end")
        if left:
            time.sleep(LOOK if len(left) < 20 else 0.1)


def rate(connection, jobs):
    """Jobs a second, from the first submission to the last result."""
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        begin(connection, pool)
        began = datetime.datetime.now(datetime.timezone.utc)
        wait_for(connection, pool.map(submit, range(jobs)))
    (last,) = connection.execute("select max(date_done) from celery_taskmeta").fetchone()
    return jobs / (last.replace(tzinfo=datetime.timezone.utc) - began).total_seconds()


def idle(connection, jobs, rest):
    """Milliseconds from the answer to a submission to the sight of its result, for one job after another."""
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        begin(connection, pool)
    latencies = []
    for _ in range(jobs):
        id = submit()
        answered = time.perf_counter()
        while not done(connection, [id]):
            time.sleep(LOOK)
        latencies.append(1000 * (time.perf_counter() - answered))
        time.sleep(rest)
    return latencies


def loaded(connection, jobs, interval):
    """The same for jobs that are submitted one each `interval` seconds, whatever became of those before."""
    # Else the thread that looks holds up those that submit, and they it, for 5 ms at a time.
    sys.setswitchinterval(0.0005)
    answered, found = {}, {}

    def watch():
        while len(found) < jobs:
            waiting = [id for id in list(answered) if id not in found]
            for id in done(connection, waiting) if waiting else ():
                found[id] = time.perf_counter()
            time.sleep(LOOK)

    def submit_at(moment):
        time.sleep(max(0.0, moment - time.perf_counter()))
        id = submit()
        answered[id] = time.perf_counter()

    with ThreadPoolExecutor(SUBMITTERS) as pool:
        begin(connection, pool)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        first = time.perf_counter()
        list(pool.map(submit_at, [first + number * interval for number in range(jobs)]))
    watcher.join(PATIENCE)
    return [1000 * (found[id] - answered[id]) for id in answered]


def begin(connection, pool):
    """Connects everything, and forgets the results so far."""
    wait_for(connection, pool.map(submit, range(4 * SUBMITTERS)))
    connection.execute("truncate celery_taskmeta")


def main():
    command, *arguments = sys.argv[1:]
    measure = {"rate": rate, "idle": idle, "loaded": loaded}[command]
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        result = measure(connection, int(arguments[0]), *map(float, arguments[1:]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
