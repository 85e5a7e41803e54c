"""Writes the pictures that `src/decode/tests.rs` decodes, and what Pillow makes of them.

NAME.EXT is an input; NAME.EXT.png is `ImageOps.exif_transpose(…).convert("RGB")` of it, as the reference
processors of captioning models prepare pictures. `upright.png` is what every `orientation-N.EXT` shows.

    pip install pillow==13.0.0 numpy && python make_images.py

`separate-*.jpg` need libjpeg's `jpegtran`.
"""

import pathlib
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 12, 8
ORIENTATION = 0x0112
# How a picture that lies as the key says is made from one that is upright: the inverse of what turns it back.
LAID = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def upright():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([x * 20, y * 30, 200 - x * 10 - y * 5], -1).astype(np.uint8))


def png_of_16_bits(values, color_type):
    """Pillow writes no colours of 16 bits."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def write(name, image, **options):
    image.save(FOLDER / name, **options)
    expect(name)


def expect(name):
    with Image.open(FOLDER / name) as image:
        ImageOps.exif_transpose(image).convert("RGB").save(FOLDER / f"{name}.png")


def write_separate(name, image, **options):
    """A JPEG that is not progressive and has each component in a scan of its own."""
    image.save(FOLDER / name, **options)
    with open(FOLDER / "scans.txt", "w") as scans:
        scans.write("0; 1; 2;")
    command = ["jpegtran", "-scans", scans.name, "-outfile", FOLDER / name, FOLDER / name]
    subprocess.run(command, check=True)
    pathlib.Path(scans.name).unlink()
    expect(name)


def main():
    picture = upright()
    picture.save(FOLDER / "upright.png")
    ramp = Image.linear_gradient("L").resize(picture.size)

    x = np.arange(WIDTH)
    ink = np.stack([x * 20, 255 - x * 20, x * 10, x * 15], -1).astype(np.uint8)
    write("cmyk.jpg", Image.fromarray(np.repeat(ink[None], HEIGHT, 0), "CMYK"), quality=100)
    write("grey.jpg", picture.convert("L"), quality=100)
    write("progressive.jpg", picture, quality=100, subsampling=0, progressive=True)
    wide = Image.fromarray(np.stack([np.mgrid[0:40, 0:52][1] * 4, np.mgrid[0:40, 0:52][0] * 6, np.full((40, 52), 90)], -1).astype(np.uint8))
    write_separate("separate-420.jpg", wide, quality=95, subsampling=2)
    write_separate("separate-444.jpg", wide, quality=95, subsampling=0)
    write("grey-alpha.png", Image.merge("LA", (picture.convert("L"), ramp)))
    write("palette-transparent.png", picture.quantize(16), transparency=bytes(range(0, 256, 16)))
    write("pixel.png", picture.crop((3, 3, 4, 4)))

    random = np.random.default_rng(7)
    (FOLDER / "rgb16.png").write_bytes(png_of_16_bits(random.integers(0, 65536, (8, 8, 3)), 2))
    (FOLDER / "grey-alpha16.png").write_bytes(png_of_16_bits(random.integers(0, 65536, (8, 8, 2)), 4))
    expect("rgb16.png")
    expect("grey-alpha16.png")

    frames = [Image.new("RGB", picture.size, color) for color in [(250, 10, 10), (10, 250, 10)]]
    write("animated.webp", frames[0], save_all=True, append_images=frames[1:], duration=100, lossless=True)
    write("animated.gif", frames[0], save_all=True, append_images=frames[1:], duration=100)

    for number, transpose in LAID.items():
        lying = picture if transpose is None else picture.transpose(transpose)
        exif = Image.Exif()
        exif[ORIENTATION] = number
        for extension, options in {
            "jpg": {"quality": 100, "subsampling": 0},
            "png": {},
            "webp": {"lossless": True},
        }.items():
            path = FOLDER / f"orientation-{number}.{extension}"
            lying.save(path, exif=exif, **options)
            with Image.open(path) as image:
                seen = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
                assert abs(seen - np.asarray(picture)).max() <= 4, path


if __name__ == "__main__":
    main()
