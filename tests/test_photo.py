"""The one photo decoder, on generated files of every kind."""

import concurrent.futures
import io
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile

from flowers_model import photo

# Four quadrants: red and green above blue and yellow.
COLOURS = np.array([[(220, 30, 30), (30, 200, 40)], [(40, 50, 210), (230, 220, 60)]], np.uint8)
GREY = 50
QUADRANTS = Image.fromarray(COLOURS.repeat(32, axis=0).repeat(48, axis=1))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))

# How a phone held that way stores an upright picture: the inverse of the EXIF orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    # Copies, because saving in one format changes the image in ways that affect the next format.
    options = {
        key: [i.copy() for i in v] if key == "append_images" else v for key, v in options.items()
    }
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def centres(array: np.ndarray) -> np.ndarray:
    """The colours in the middle of the four quadrants."""
    height, width = array.shape[:2]
    return array[np.ix_((height // 4, 3 * height // 4), (width // 4, 3 * width // 4))]


def assert_colours(array: np.ndarray, colours: np.ndarray = COLOURS, tolerance: int = 12) -> None:
    assert array.dtype == np.uint8
    assert array.shape[2] == 3
    np.testing.assert_allclose(centres(array).astype(int), colours.astype(int), atol=tolerance)


def grey(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array[:, :, None], (2, 2, 3))


LUMA = np.asarray(Image.fromarray(COLOURS).convert("L"))


def png(bits: int, colour: int, rows: np.ndarray, **chunks: bytes) -> bytes:
    """A PNG of kinds that Pillow does not write; `rows` (H, W, channels)."""
    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in {"IHDR": header, **chunks, "IDAT": zlib.compress(lines), "IEND": b""}.items():
        named = name.encode() + body
        data += struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))
    return data


def ycck_jpeg() -> bytes:
    """A JPEG as Adobe's programs write CMYK: inverted, C, M and Y stored as luma and chroma."""
    negative = Image.fromarray(255 - np.asarray(QUADRANTS))
    planes = 255 - np.asarray(negative.convert("YCbCr"))
    cmyk = np.dstack([planes, np.zeros(planes.shape[:2], np.uint8)])
    data = bytearray(encode(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def tiff(strip: bytes, width: int, height: int) -> bytes:
    """An RGB TIFF that keeps its directory in front of its one JPEG strip."""
    tags = [(256, width), (257, height), (258, 8), (259, 7), (262, 6), (277, 3), (278, height)]
    start = 8 + 2 + 12 * (len(tags) + 2) + 4 + 6
    tags = sorted([*tags, (273, start), (279, len(strip))])
    data = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        entry = (tag, 3, 3, start - 6) if tag == 258 else (tag, 4, 1, value)
        data += struct.pack("<HHII", *entry)
    return data + struct.pack("<IHHH", 0, 8, 8, 8) + strip


def files_in_colour(image: Image.Image) -> dict[str, bytes]:
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    second = {"save_all": True, "append_images": [mirrored]}
    palette = image.quantize(256)
    fine = {"quality": 95}
    files = {
        "jpeg": encode(image, "JPEG", **fine),
        "jpeg progressive": encode(image, "JPEG", progressive=True, **fine),
        "jpeg restarts": encode(image, "JPEG", restart_marker_blocks=4, **fine),
        "jpeg cmyk": encode(image.convert("CMYK"), "JPEG", **fine),
        "jpeg several": encode(image, "MPO", **second, **fine),
        "png": encode(image, "PNG"),
        "png 16 bit": png(16, 2, np.asarray(image).astype(np.uint16) * 257),
        "png palette": encode(palette, "PNG"),
        "png alpha": encode(image.convert("RGBA"), "PNG"),
        "png animated": encode(image, "PNG", **second),
        "webp": encode(image, "WEBP", **fine),
        "webp lossless": encode(image, "WEBP", lossless=True),
        "webp alpha": encode(image.convert("RGBA"), "WEBP", **fine),
        "webp animated": encode(image, "WEBP", **second, **fine),
        "avif": encode(image, "AVIF", **fine),
        "avif alpha": encode(image.convert("RGBA"), "AVIF", **fine),
        "avif animated": encode(image, "AVIF", **second, **fine),
        "heic": encode(image, "HEIF", **fine),
        "heic alpha": encode(image.convert("RGBA"), "HEIF", **fine),
        "gif": encode(palette, "GIF"),
        "gif plain order": encode(palette, "GIF", interlace=False),
        "gif animated": encode(palette, "GIF", **second),
        "bmp": encode(image, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "tiff lab": encode(image.convert("LAB"), "TIFF"),
        "tiff cmyk": encode(image.convert("CMYK"), "TIFF"),
        "tiff ycbcr": encode(image.convert("YCbCr"), "TIFF", compression="jpeg"),
        "tiff pages": encode(image, "TIFF", **second),
        "tiff big": encode(image, "TIFF", big_tiff=True),
        "tiff strip last": tiff(
            encode(image, "JPEG", subsampling=0, **fine), image.width, image.height
        ),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        files[f"tiff {compression}"] = encode(image, "TIFF", compression=compression)
    return files


def heic_of_tiles(image: Image.Image) -> bytes:
    """As iPhones write it: a grid of tiles, each coded by itself."""
    before = pillow_heif.options.GRID_TILE_SIZE
    pillow_heif.options.GRID_TILE_SIZE = 64
    try:
        data = encode(image.resize((320, 256)), "HEIF", quality=90)
    finally:
        pillow_heif.options.GRID_TILE_SIZE = before
    assert b"grid" in data
    return data


IN_COLOUR = files_in_colour(QUADRANTS)
OF_NOISE = {**files_in_colour(NOISE), "heic tiles": heic_of_tiles(NOISE)}


# --- kinds of files


@pytest.mark.parametrize("kind", IN_COLOUR)
def test_the_colours_of_every_kind_of_file_come_out(kind):
    array = photo.decode(IN_COLOUR[kind])
    assert array.shape == (64, 96, 3)
    assert_colours(array)


def test_the_tiles_of_a_heic_make_one_picture():
    assert_colours(photo.decode(heic_of_tiles(QUADRANTS)))


def test_an_adobe_ycck_jpeg_is_not_inverted():
    data = ycck_jpeg()
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert_colours(photo.decode(data))


LEVELS = np.asarray(QUADRANTS.convert("L"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(Image.fromarray(LEVELS), "JPEG", quality=95), id="jpeg"),
        pytest.param(encode(Image.fromarray(LEVELS), "PNG"), id="png"),
        pytest.param(png(16, 0, LEVELS.astype(np.uint16) * 257), id="png 16 bit"),
        pytest.param(
            png(16, 4, np.dstack([LEVELS, np.full_like(LEVELS, 255)]).astype(np.uint16) * 257),
            id="png 16 bit alpha",
        ),
        pytest.param(
            encode(Image.fromarray(LEVELS.astype(np.uint16) * 257), "TIFF"), id="tiff 16 bit"
        ),
        pytest.param(
            encode(Image.fromarray(LEVELS.astype(np.int32) * 257), "TIFF"), id="tiff 32 bit"
        ),
        pytest.param(
            encode(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"), id="tiff 32 bit to 255"
        ),
        pytest.param(
            encode(Image.fromarray(LEVELS.astype(np.float32) / 255), "TIFF"), id="tiff float to 1"
        ),
        pytest.param(
            encode(Image.fromarray(LEVELS.astype(np.float32)), "TIFF"), id="tiff float to 255"
        ),
    ],
)
def test_grey_photos_of_every_depth_keep_their_brightness(data):
    assert_colours(photo.decode(data), grey(LUMA), tolerance=3)


def test_a_float_photo_beyond_every_usual_range_is_scaled_by_its_largest_value():
    values = np.array([[0, 50_000], [100_000, -5], [np.nan, np.inf]], np.float32)
    array = photo.decode(encode(Image.fromarray(values), "TIFF"))
    assert array[:, :, 0].tolist() == [[0, 128], [255, 0], [0, 0]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_black_and_white_of_one_bit_are_0_and_255(kind):
    image = Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).convert("1")
    assert photo.decode(encode(image, kind))[0, :, 1].tolist() == [0, 255, 255, 0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_photo_of_one_pixel_is_a_photo(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.new("RGB", (1, 1), (200, 100, 50)), kind, **options)
    assert photo.decode(data).tolist() == [[[200, 100, 50]]]


# --- transparency


def half_red() -> Image.Image:
    """Left: fully transparent green. Right: half-transparent red."""
    return Image.fromarray(np.array([[(0, 255, 0, 0), (255, 0, 0, 128)]], np.uint8))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(encode(half_red(), "PNG"), id="png"),
        pytest.param(encode(half_red(), "WEBP", lossless=True, exact=True), id="webp"),
        pytest.param(encode(half_red(), "TIFF"), id="tiff"),
        pytest.param(half_red(), id="PIL"),
        pytest.param(half_red().convert("RGBa"), id="PIL premultiplied"),
        pytest.param(np.asarray(half_red()), id="array"),
    ],
)
def test_what_is_transparent_turns_white(source):
    np.testing.assert_allclose(photo.decode(source), [[(255, 255, 255), (255, 127, 127)]], atol=1)


@pytest.mark.parametrize("mode", ["LA", "La"])
def test_transparent_grey_turns_white(mode):
    image = Image.fromarray(np.array([[(0, 0), (90, 255)]], np.uint8), "LA").convert(mode)
    assert photo.decode(image)[0].tolist() == [[255] * 3, [90] * 3]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_turns_white(kind):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    data = encode(image, kind, transparency=0)
    assert photo.decode(data)[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_a_palette_with_levels_of_transparency_is_blended_with_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 200, 100, 50])
    data = encode(image, "PNG", transparency=bytes([128, 255]))
    assert photo.decode(data)[0].tolist() == [[127, 127, 127], [200, 100, 50]]


@pytest.mark.parametrize(
    ("bits", "colour", "channels"), [(8, 0, 1), (16, 0, 1), (8, 2, 3), (16, 2, 3)]
)
def test_a_png_that_names_a_transparent_colour_can_be_read(bits, colour, channels):
    top = 2**bits - 1
    rows = np.zeros((1, 2, channels), np.uint16)
    rows[0, 1] = top
    data = png(bits, colour, rows, tRNS=struct.pack(f">{channels}H", *[top] * channels))
    assert photo.decode(data)[0].tolist() == [[0] * 3, [255] * 3]


# --- orientation

CONTAINERS = {
    "jpeg": ("JPEG", {"quality": 95}),
    "jpeg several": ("MPO", {"quality": 95, "save_all": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 95}),
    "avif": ("AVIF", {"quality": 95}),
    "heic": ("HEIF", {"quality": 95}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
}


def phone_photo(container: str, orientation: int) -> bytes:
    kind, options = CONTAINERS[container]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED.get(orientation)
    stored = QUADRANTS if turn is None else QUADRANTS.transpose(turn)
    return encode(stored, kind, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_rotated_phone_photo_comes_out_upright(container, orientation):
    data = phone_photo(container, orientation)
    array = photo.decode(data)
    assert array.shape == (64, 96, 3)
    assert array.flags.c_contiguous
    assert_colours(array)
    np.testing.assert_array_equal(photo.decode(Image.open(io.BytesIO(data))), array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"Exif\0\0of no use at all", id="garbage"),
        pytest.param(b"Exif\0\0MM\0*", id="cut in the header"),
        pytest.param(b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03", id="cut in an entry"),
        pytest.param(
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0", id="9"
        ),
        pytest.param(
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0", id="text"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
def test_damaged_exif_does_not_spoil_a_good_photo(kind, exif):
    assert_colours(photo.decode(encode(QUADRANTS, kind, exif=exif)))


# --- refusals


@pytest.mark.parametrize("share", [5, 30, 45, 60, 75, 90, 95])
@pytest.mark.parametrize("kind", OF_NOISE)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
def test_a_file_cut_short_is_refused_unless_its_first_picture_is_whole(kind, share):
    data = OF_NOISE[kind]
    cut = data[: len(data) * share // 100]
    holds_a_whole_picture = share > 55 and kind in (
        "jpeg several",
        "png animated",
        "gif animated",
        "tiff pages",
    )
    if holds_a_whole_picture:
        np.testing.assert_array_equal(photo.decode(cut), photo.decode(data))
    else:
        with pytest.raises(photo.PhotoError, match=r"cut short|cannot be read") as caught:
            photo.decode(cut)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff strip last", "tiff raw"])
def test_half_a_photo_is_refused_even_where_pillow_was_told_to_accept_it(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = OF_NOISE[kind]
    with pytest.raises(photo.PhotoError):
        photo.decode(data[: len(data) // 2])


def test_what_phones_append_to_a_heic_is_no_sign_of_a_cut():
    data = heic_of_tiles(QUADRANTS)
    for appended in (b"\0" * 40, b"SEFH" + bytes(range(60)), b"\0\xff\0\0mpvd" + b"film" * 9):
        assert_colours(photo.decode(data + appended))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"<!doctype html><title>404</title>" * 20, id="html"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='9'/></svg>", id="svg"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", id="eps"),
        pytest.param(encode(QUADRANTS, "ICO"), id="ico"),
        pytest.param(encode(QUADRANTS, "PDF"), id="pdf"),
        pytest.param(encode(QUADRANTS, "PPM"), id="ppm"),
        pytest.param(b"\0" * 1000, id="zeros"),
        pytest.param(b"\xff\xd8\xff", id="three bytes of a jpeg"),
    ],
)
def test_what_is_no_photo_is_refused_and_the_good_formats_are_named(data):
    with pytest.raises(photo.PhotoError, match=r"JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF"):
        photo.decode(data)


def test_an_empty_file_is_refused():
    with pytest.raises(photo.PhotoError, match="is empty"):
        photo.decode(b"")


def test_files_are_read_by_path_and_named_in_refusals(tmp_path):
    good, bad = tmp_path / "röse.png", tmp_path / "page.jpg"
    good.write_bytes(IN_COLOUR["png"])
    bad.write_text("<html>")
    assert_colours(photo.decode(good))
    assert_colours(photo.decode(str(good)))
    for path, reason in (
        (bad, "cannot be read as a photo"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.jpg", "is not there"),
        (tmp_path / ("long" * 100), "is not there"),
        ("nul\0byte.jpg", "is not there"),
        ("https://example.org/rose.jpg", "is not there"),
    ):
        with pytest.raises(photo.PhotoError, match=reason) as caught:
            photo.decode(path)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(not pathlib.Path("/dev/zero").exists(), reason="there are no devices here")
def test_a_device_is_not_read():
    with pytest.raises(photo.PhotoError, match="is not there"):
        photo.decode("/dev/zero")


# --- bombs


def with_size(data: bytes, pattern: bytes, skip: int, form: str, *size: int) -> bytes:
    at = data.index(pattern) + skip
    width_height = struct.pack(form, *size)
    return data[:at] + width_height + data[at + len(width_height) :]


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(header))
    end = IN_COLOUR["png"][33:]
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + check + end


TOO_LARGE = {
    "png": png_of(50_000, 50_000),
    "png of 100 by 1.3 million": png_of(100, 1_300_000),
    "gif screen": with_size(IN_COLOUR["gif"], b"GIF8", 6, "<HH", 50_000, 50_000),
    "bmp": with_size(IN_COLOUR["bmp"], b"BM", 18, "<ii", 50_000, 50_000),
    "jpeg": with_size(IN_COLOUR["jpeg"], b"\xff\xc0", 5, ">HH", 50_000, 50_000),
    "jpeg of 132 megapixels": with_size(IN_COLOUR["jpeg"], b"\xff\xc0", 5, ">HH", 11_000, 12_000),
    "webp": with_size(IN_COLOUR["webp animated"], b"VP8X", 12, "<HBHB", 16_382, 0, 16_382, 0),
    "avif": with_size(IN_COLOUR["avif"], b"ispe", 8, ">II", 12_000, 11_000),
    "heic": with_size(IN_COLOUR["heic"], b"ispe", 8, ">II", 50_000, 50_000),
    "tiff": tiff(b"", 50_000, 50_000),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_by_its_header(kind):
    with pytest.raises(photo.PhotoError, match=r"is too large .*at most 120 megapixels"):
        photo.decode(TOO_LARGE[kind])


def test_the_108_megapixels_of_a_phone_are_within_the_limit_without_a_warning(tmp_path):
    # The header is accepted; decoding then finds no such picture in the file.
    path = tmp_path / "large.png"
    path.write_bytes(png_of(12_000, 9_000))
    # In a process of its own, since pytest has its own idea of which warnings to show.
    code = (
        "import sys\n"
        "from flowers_model import photo\n"
        "try: photo.decode(sys.argv[1])\n"
        "except photo.PhotoError as error: print(error)"
    )
    root = pathlib.Path(photo.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True
    )
    assert "damaged or cut short" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("source", [IN_COLOUR["png"], QUADRANTS, np.asarray(QUADRANTS)])
def test_the_limit_on_pixels_can_be_set_and_is_inclusive(source):
    assert photo.decode(source, max_pixels=64 * 96).shape == (64, 96, 3)
    with pytest.raises(photo.PhotoError, match="96 x 64 pixels"):
        photo.decode(source, max_pixels=64 * 96 - 1)


# --- arrays and PIL images


def test_arrays_are_read_as_rgb_grey_or_rgba():
    rgb = np.asarray(QUADRANTS)
    np.testing.assert_array_equal(photo.decode(rgb), rgb)
    np.testing.assert_array_equal(photo.decode(rgb[::-1, ::-2]), rgb[::-1, ::-2])
    np.testing.assert_array_equal(photo.decode(LEVELS), np.dstack([LEVELS] * 3))
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(photo.decode(opaque), rgb)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int64),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused_with_what_would_be_right(array):
    with pytest.raises(photo.PhotoError, match=r"uint8 of shape \(H, W\).*not"):
        photo.decode(array)


@pytest.mark.parametrize("mode", ["CMYK", "HSV", "LAB", "YCbCr", "RGBX", "P"])
def test_pil_images_of_every_colour_mode_come_out_as_rgb(mode):
    assert_colours(photo.decode(QUADRANTS.convert(mode, palette=Image.Palette.ADAPTIVE)))


def test_a_pil_image_of_a_file_cut_short_is_refused():
    data = OF_NOISE["jpeg"]
    with pytest.raises(photo.PhotoError, match="cut short"):
        photo.decode(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize("source", [None, 3, io.BytesIO(IN_COLOUR["png"]), [IN_COLOUR["png"]]])
def test_other_things_than_photos_are_refused(source):
    with pytest.raises(photo.PhotoError, match=f"not {type(source).__name__}"):
        photo.decode(source)


@pytest.mark.parametrize("source", [IN_COLOUR["png"], QUADRANTS, np.array(QUADRANTS)])
def test_the_result_is_contiguous_read_only_and_shares_nothing(source):
    array = photo.decode(source)
    assert array.flags.c_contiguous
    assert not array.flags.writeable
    if isinstance(source, np.ndarray):
        assert not np.shares_memory(array, source)


@pytest.mark.parametrize(
    ("at_least", "shape"),
    [
        (None, (96, 64)),
        (65, (96, 64)),
        (33, (96, 64)),
        (32, (48, 32)),
        (16, (24, 16)),
        (1, (12, 8)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_size_that_is_enough(at_least, shape):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(QUADRANTS, "JPEG", exif=exif, quality=95)
    array = photo.decode(data, at_least=at_least)
    assert array.shape == (*shape, 3)
    full = Image.fromarray(photo.decode(data)).resize(shape[::-1], Image.Resampling.BOX)
    assert np.abs(array.astype(int) - np.asarray(full)).mean() < 4


def test_other_photos_are_decoded_whole_however_few_pixels_are_enough():
    for source in (encode(QUADRANTS, "PNG"), QUADRANTS, np.asarray(QUADRANTS)):
        assert photo.decode(source, at_least=1).shape[:2] == QUADRANTS.size[::-1]


def test_many_threads_decode_as_one_does():
    files = list(OF_NOISE.values()) * 2
    alone = [photo.decode(data) for data in files]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(photo.decode, files), strict=True):
            np.testing.assert_array_equal(one, other)


# --- fit


def test_fit_takes_the_centre_square_of_a_wide_and_of_a_tall_photo():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (10, 200, 30)
    for array in (wide, wide.transpose(1, 0, 2)):
        assert np.unique(photo.fit(array, 20).reshape(-1, 3), axis=0).tolist() == [[10, 200, 30]]


def test_fit_crops_by_a_share_of_the_short_side():
    array = np.zeros((40, 80, 3), np.uint8)
    array[10:30, 30:50] = 255
    np.testing.assert_array_equal(photo.fit(array, 20, crop=0.5), np.full((20, 20, 3), 255))
    assert (photo.fit(array, 40)[:, :, 0] == array[:, 20:60, 0]).all()


def test_fit_cuts_between_pixels_where_the_numbers_are_odd():
    ramp = np.ascontiguousarray(np.broadcast_to(np.arange(0, 50, 10)[None, :, None], (4, 5, 3)))
    row = photo.fit(ramp.astype(np.uint8), 4)[0, :, 0]
    assert row.tolist() == [5, 15, 25, 35]


def test_fit_averages_what_it_shrinks_and_blends_what_it_enlarges():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    board = np.dstack([board] * 3).astype(np.uint8)
    inner = photo.fit(board, 8)[1:-1, 1:-1].astype(int)
    assert np.abs(inner - 127.5).max() < 3
    enlarged = photo.fit(np.array([[[0] * 3, [200] * 3]] * 2, np.uint8), 8)
    assert enlarged.shape == (8, 8, 3)
    assert enlarged[0, :, 0].tolist() == [0, 0, 25, 75, 125, 175, 200, 200]


def test_fit_leaves_a_photo_of_the_right_size_as_it_is_and_repeats_itself():
    array = np.asarray(NOISE)[:100, :100]
    np.testing.assert_array_equal(photo.fit(array, 100), array)
    np.testing.assert_array_equal(photo.fit(array, 37, 0.875), photo.fit(array.copy(), 37, 0.875))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (101, 67)])
@pytest.mark.parametrize("crop", [1.0, 0.999999999999, 0.875, 1 / 3, 0.01])
def test_fit_works_on_every_shape(shape, crop):
    array = np.full((*shape, 3), 77, np.uint8)
    fitted = photo.fit(array, 32, crop)
    assert fitted.dtype == np.uint8
    np.testing.assert_array_equal(fitted, np.full((32, 32, 3), 77))


@pytest.mark.parametrize(("size", "crop"), [(0, 1.0), (8, 0.0), (8, 1.01), (8, float("nan"))])
def test_fit_refuses_sizes_and_crops_out_of_range(size, crop):
    with pytest.raises(ValueError, match="size is at least 1"):
        photo.fit(np.zeros((4, 4, 3), np.uint8), size, crop)
