"""Trains the demo models and the demo LoRA again, in an environment of its own with the versions in requirements.txt.

    train.py sd          trains, writes and evaluates shapes-sd
    train.py blip        trains, writes and evaluates shapes-blip
    train.py lora        trains, writes and evaluates shapes-lora, which changes shapes-sd
    train.py reference   records the reference outputs of the first two
    train.py evaluate    measures how good those are

Needs Python 3.11 or newer and nothing else. What is done is kept in the working folder: after an interruption the same
command goes on from there. RECIPE.md describes the stages.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BUNDLED = HERE.parent
LEAST_PYTHON = (3, 11)
VAE_MINUTES, BLIP_MINUTES, UNET_MINUTES, LORA_MINUTES = 11, 20, 60, 7
SD_MINUTES = VAE_MINUTES + UNET_MINUTES
LATENTS, LEAST_LATENTS = 16_000, 640
PROMPTS, LEAST_PROMPTS = 120, 20

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HF_HUB_OFFLINE": "1",
    # Progress bars and advice to install more packages.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore::UserWarning:transformers.generation.utils",
}


def main():
    if sys.version_info < LEAST_PYTHON:
        fail(f"needs Python 3.11 or newer, and this is {sys.version.split()[0]}")
    options = parse_arguments()
    try:
        check(options)
        enter_environment(options.work / "venv")
        options.run(options)
    except KeyboardInterrupt:
        sys.exit("\ntrain.py: interrupted; the same command goes on from here")


# ---- the commands


def run_sd(options):
    import cache_latents
    import train_unet
    from evaluate_sd import evaluate_sd
    from export_sd import export_sd
    from make_tokenizer import make_tokenizer
    from train_vae import train_vae

    share = begin(options, "sd", SD_MINUTES)
    folder, model = options.work / "sd", options.out / "shapes-sd"
    tokenizer, vae, latents = folder / "tokenizer", folder / "vae.pt", folder / "latents"
    if is_missing(tokenizer / "vocab.json", "tokenizer"):
        make_tokenizer(tokenizer)
    if is_missing(vae, "vae"):
        train_vae(vae, VAE_MINUTES * share)
    if not cache_latents.is_cached(latents):
        cache_latents.cache_latents(vae, latents, scaled(LATENTS, share, LEAST_LATENTS), options.processes)
    for number, phase in enumerate(train_unet.PHASES):
        if is_missing(train_unet.phase_path(folder, number), f"unet {number + 1}/{len(train_unet.PHASES)}"):
            train_unet.train_phase(folder, number, phase.minutes * share, options.processes)
    export_sd(tokenizer, vae, train_unet.phase_path(folder, len(train_unet.PHASES) - 1), model)
    prompts = scaled(PROMPTS, share, LEAST_PROMPTS)
    captioner, sheet = beside(options.out, "shapes-blip"), options.work / "evaluation-sd.png"
    figures = evaluate_sd(model, captioner, prompts, options.processes, sheet)
    write_figures(options.work / "evaluation-sd.json", figures)


def run_blip(options):
    from evaluate_blip import evaluate_blip
    from export_blip import export_blip
    from train_blip import train_blip

    share = begin(options, "blip", BLIP_MINUTES)
    weights, model = options.work / "blip" / "blip.pt", options.out / "shapes-blip"
    if is_missing(weights, "blip"):
        train_blip(weights, BLIP_MINUTES * share)
    export_blip(weights, model)
    write_figures(options.work / "evaluation-blip.json", evaluate_blip(model))


def run_lora(options):
    from evaluate_lora import evaluate_lora
    from train_lora import export_lora, train_lora

    share = begin(options, "lora", LORA_MINUTES)
    base, folder = beside(options.out, "shapes-sd"), options.out / "shapes-lora"
    weights, sheet = options.work / "lora" / "lora.pt", options.work / "evaluation-lora.png"
    if is_missing(weights, "lora"):
        train_lora(base, weights, LORA_MINUTES * share)
    export_lora(weights, folder)
    write_figures(options.work / "evaluation-lora.json", evaluate_lora(base, folder, sheet))


def run_reference(options):
    from make_reference import compare, make_reference

    folder = options.out / "reference"
    make_reference(options.models, folder)
    if options.compare:
        compare(folder, options.compare)


def run_evaluate(options):
    from evaluate_blip import evaluate_blip
    from evaluate_sd import evaluate_sd

    sd, blip = options.models / "shapes-sd", options.models / "shapes-blip"
    if blip.exists():
        evaluate_blip(blip)
    if sd.exists():
        captioner, sheet = beside(options.models, "shapes-blip"), options.work / "evaluation-sd.png"
        evaluate_sd(sd, captioner, PROMPTS, options.processes, sheet)


# ---- the command line


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    trainings = (("sd", run_sd, SD_MINUTES), ("blip", run_blip, BLIP_MINUTES), ("lora", run_lora, LORA_MINUTES))
    for name, run, minutes in trainings:
        command = add_command(commands, name, run, f"train, write and evaluate shapes-{name}")
        command.add_argument("--minutes", type=positive, default=minutes, metavar="N", help=(
            "time of training, all stages together (default: %(default)s, the recipe's); a few minutes try the whole "
            "path, with fewer pictures and prompts as well, and make a poor model"))
        command.add_argument("--fresh", action="store_true", help="forget what an earlier run has done")
        add_out(command, f"shapes-{name}")
    command = add_command(commands, "reference", run_reference, "record the reference outputs of both models")
    add_models(command)
    add_out(command, "reference")
    command.add_argument("--compare", type=folder, metavar="DIR", help="print how far the ones recorded in DIR are off")
    add_models(add_command(commands, "evaluate", run_evaluate, "measure how good the models are, and train nothing"))
    options = parser.parse_args()
    # Defaults that depend on the working folder.
    for name in ("out", "models"):
        if getattr(options, name, "not an option") is None:
            setattr(options, name, options.work / "models")
    return options


def add_command(commands, name, run, description):
    command = commands.add_parser(name, help=description, description=description.capitalize() + ".")
    command.set_defaults(run=run)
    command.add_argument("--work", type=folder, metavar="DIR", help=(
        "working folder: environment, checkpoints, results (default: $SHAPES_WORK, or .train in the repository)"),
        default=os.environ.get("SHAPES_WORK") or str(REPOSITORY / ".train"))
    command.add_argument("--processes", type=int, default=2, choices=(1, 2, 4, 8), help=(
        "processes of one thread each, where work can be shared (default: %(default)s, the recipe's)"))
    return command


def add_out(command, name):
    command.add_argument("--out", type=folder, metavar="DIR", help=f"where {name}/ is written (default: WORK/models)")
    command.add_argument("--overwrite", action="store_true", help=(
        f"replace {name}/ if it exists, as the bundled one does; WORK/models needs no permission"))


def add_models(command):
    command.add_argument("--models", type=folder, metavar="DIR", help=(
        "where shapes-sd/ and shapes-blip/ are (default: WORK/models)"))


def folder(text):
    return Path(text).expanduser().resolve()


def positive(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"not a number above 0: {text}")


def check(options):
    """Refuses, before anything takes time, what would fail or destroy something later."""
    if options.command in ("sd", "blip", "lora", "reference"):
        name = "reference" if options.command == "reference" else f"shapes-{options.command}"
        target = options.out / name
        is_own = options.out == options.work / "models" and options.out != BUNDLED
        if target.exists() and not is_own and not options.overwrite:
            fail(f"{target} exists; --overwrite replaces it")
    if options.command == "reference":
        for model in ("sd", "blip"):
            if not (options.models / f"shapes-{model}").exists():
                fail(f"{options.models} has no shapes-{model}: make it with `train.py {model}`, or set --models")
        if options.compare and not (options.compare / "sd.safetensors").exists():
            fail(f"{options.compare} has no recorded outputs")
    if options.command == "evaluate" and not list(options.models.glob("shapes-*")):
        fail(f"{options.models} has no model: make one with `train.py sd` or `train.py blip`, or set --models")


def fail(message):
    sys.exit(f"train.py: {message}")


# ---- the working folder


def enter_environment(venv):
    """Goes on in the environment in `venv`, which is made first if it does not fit requirements.txt."""
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(venv.parent / "venv.lock", "w") as lock:
        # Several models may be trained at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_environment(venv)
    os.environ |= ENVIRONMENT
    python = str(venv / "bin" / "python")
    os.execv(python, [python, *sys.argv])


def make_environment(venv):
    requirements, installed = HERE / "requirements.txt", venv / "installed.txt"
    if installed.exists() and installed.read_text() == requirements.read_text():
        return
    print(f"installing the versions in {requirements} into {venv}: some minutes", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    except subprocess.CalledProcessError:
        fail("no virtual environment could be made (on Debian and Ubuntu its package is python3-venv)")
    try:
        subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    except subprocess.CalledProcessError:
        fail(f"pip could not install {requirements}; the same command tries again")
    shutil.copy(requirements, installed)


def begin(options, name, recipe_minutes):
    """Prepares the folder of a training, and returns the share of the recipe's time it is given."""
    started = options.work / name
    options.lock = take_lock(options.work / f"{name}.lock")
    if options.fresh:
        shutil.rmtree(started, ignore_errors=True)
    settings = started / "minutes.json"
    with contextlib.suppress(FileNotFoundError):
        before = json.loads(settings.read_text())
        if before != options.minutes:
            fail(f"{started} holds a training of {before:g} minutes: "
                 f"go on with --minutes {before:g}, or begin again with --fresh")
    started.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(options.minutes))
    if options.minutes < recipe_minutes:
        print(f"{options.minutes:g} of the recipe's {recipe_minutes} minutes: expect a poor model", flush=True)
    return options.minutes / recipe_minutes


def take_lock(path):
    """A lock that is held as long as the result is."""
    lock = open(path, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"another run is at work in {path.parent}: wait for it, or set --work")
    return lock


def is_missing(path, stage):
    """Whether a stage has still to be done."""
    if path.exists():
        print(f"{stage}: done before", flush=True)
    return not path.exists()


def scaled(number, share, least):
    return max(least, round(number * min(1, share)))


def beside(models, name):
    """The model `name` in the folder `models`, or else the bundled one."""
    own = models / name
    return own if own.exists() else BUNDLED / name


def write_figures(path, figures):
    path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
