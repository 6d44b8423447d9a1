"""Draws the Mandelbrot set as a PNG with nothing but the standard library, a row at a time, with a bar."""

import argparse
import multiprocessing
import struct
import sys
import zlib

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--width", type=int, default=600)
parser.add_argument("--depth", type=int, default=120, help="steps before a point counts as inside")
parser.add_argument("--out", default="mandelbrot.png")
args = parser.parse_args()
height = args.width * 2 // 3


def row(y):
    pixels = bytearray([0])  # PNG: no filter for this row
    for x in range(args.width):
        c = complex(-2.1 + 3.0 * x / args.width, -1.0 + 2.0 * y / height)
        z, steps = 0j, 0
        while abs(z) <= 2 and steps < args.depth:
            z, steps = z * z + c, steps + 1
        share = steps / args.depth
        pixels += bytes([0, 0, 0] if steps == args.depth else [int(255 * share ** 0.5), int(200 * share), 90])
    return bytes(pixels)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


if __name__ == "__main__":
    rows = []
    with multiprocessing.Pool() as pool:
        for done, pixels in enumerate(pool.imap(row, range(height)), 1):
            rows.append(pixels)
            if done % 20 == 0 or done == height:
                filled = 30 * done // height
                print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{height}", end="", file=sys.stderr)
    print(file=sys.stderr)
    with open(args.out, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", args.width, height, 8, 2, 0, 0, 0)))
        file.write(chunk(b"IDAT", zlib.compress(b"".join(rows), 9)))
        file.write(chunk(b"IEND", b""))
    print(f"{args.out}: {args.width} x {height}")
