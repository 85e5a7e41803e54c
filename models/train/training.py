"""What the training stages share: a schedule on the clock, moving averages of the weights, checkpoints."""

import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import torch

_SECONDS_BETWEEN_CHECKPOINTS = 60
_STEPS_BETWEEN_REPORTS = 50


def end_with_parent():
    """For a process that another one started: SIGINT, from a terminal or when the parent dies, ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not multiprocessing.parent_process().is_alive():
        sys.exit("the parent process has ended")


def use_one_thread():
    """More threads a process are slower here, and on a busy machine very much so."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def save_whole(value, path):
    """Saves so that `path` is never half a file: a stage is done if and only if its file exists."""
    partial = Path(f"{path}.tmp")
    torch.save(value, partial)
    os.replace(partial, path)


class Average:
    """Exponential moving average of a model's floating-point tensors; it follows faster in the first steps."""

    def __init__(self, model, limit, delay):
        self._model, self._limit, self._delay = model, limit, delay
        self._tensors = {name: value.detach().clone() for name, value in self._live().items()}

    @torch.no_grad()
    def update(self, step):
        decay = min(self._limit, (1 + step) / (self._delay + step))
        torch._foreach_lerp_(list(self._tensors.values()), list(self._live().values()), 1 - decay)

    def state_dict(self):
        """The model's state with its averages in it."""
        return self._model.state_dict() | self._tensors

    def load_state_dict(self, state):
        for name, value in self._tensors.items():
            value.copy_(state[name])

    def _live(self):
        return {name: value for name, value in self._model.state_dict().items() if value.is_floating_point()}


class Run:
    """A stage in training: its step, the share of its time that is used up, its reports and its checkpoint.

    A run whose checkpoint exists goes on from there. Only the random generators do not: seed them with `seed`.
    """

    def __init__(self, name, minutes, model, optimizer, average, checkpoint):
        self._name, self._minutes, self._checkpoint = name, minutes, Path(checkpoint)
        self._parts = {"model": model, "optimizer": optimizer, "average": average}
        self.step, self._seconds_before = 0, 0.0
        if self._checkpoint.exists():
            self._load()
        self.first_step = self.step
        self._started = self._saved = time.monotonic()
        self._sums, self._count = {}, 0

    @property
    def progress(self):
        """From 0 to 1 of the time, and a little over at the end."""
        return self._seconds / 60 / self._minutes

    def seed(self, number):
        """`number` in a run from the beginning, another one in a run that goes on."""
        return number + 1_000_003 * self.first_step

    def set_learning_rate(self, peak, warmup_steps, floor, progress=None):
        """Cosine over the time from `peak` to `floor` of it, after a linear warm-up over steps."""
        progress = min(1, self.progress if progress is None else progress)
        cosine = .5 * (1 + math.cos(math.pi * progress)) * (1 - floor) + floor
        for group in self._parts["optimizer"].param_groups:
            group["lr"] = peak * min(1, (self.step + 1) / warmup_steps) * cosine

    def finish_step(self, **figures):
        """Counts the step and moves the average; `figures` are what the next report gives the means of."""
        self.step += 1
        self._parts["average"].update(self.step)
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._count += 1

    def report_and_save(self):
        """Prints a report and saves a checkpoint, each when it is time."""
        if self.step % _STEPS_BETWEEN_REPORTS == 0:
            self._report()
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_CHECKPOINTS:
            parts = {name: part.state_dict() for name, part in self._parts.items()}
            save_whole({"step": self.step, "seconds": self._seconds, **parts}, self._checkpoint)
            self._saved = time.monotonic()

    def finish(self, result, path):
        """Saves the stage's result and removes the checkpoint."""
        save_whole(result, path)
        self._checkpoint.unlink(missing_ok=True)
        print(f"{self._name}: done, {self.step} steps in {self._seconds / 60:.1f} minutes", flush=True)

    @property
    def _seconds(self):
        return self._seconds_before + time.monotonic() - self._started

    def _load(self):
        saved = torch.load(self._checkpoint, weights_only=True)
        self.step, self._seconds_before = saved["step"], saved["seconds"]
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])
        print(f"{self._name}: going on after step {self.step}", flush=True)

    def _report(self):
        means = ", ".join(f"{name} {total / self._count:.4f}" for name, total in self._sums.items())
        print(f"{self._name}: step {self.step}, {min(1, self.progress):.0%} of the time, {means}", flush=True)
        self._sums, self._count = {}, 0
