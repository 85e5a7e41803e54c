"""Writes the files of exported models and of references."""

import json

from safetensors.torch import save_file


def save_tensors(tensors, path):
    """Writes a safetensors file that everyone may read: the library's own are for their owner alone."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)


def write_json(path, value, **options):
    path.write_text(json.dumps(value, indent=2, default=str, **options))
